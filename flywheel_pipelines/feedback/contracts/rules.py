"""Rules about the facts of a feed, each said once: in SQL, to Great Expectations, to dbt, and to people.

Here: what a rule is, and one function per kind of rule. Not here: which rules a feed has (`feed_contract`), the rows
that they are held against (`evidence`, `history`), or carrying them out (`suite`, and dbt's own tests).

`violation` selects in SQL the rows that a rule objects to. It decides which rows of a large feed Great Expectations
gets to see; the verdict is Great Expectations'. A test holds the two, and dbt's test, to the same verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["block", "warn"]
RuleKind = Literal["schema", "complete", "unique", "range", "rate", "known", "one_of", "fresh", "volume"]
MOST = 999_999_999_999_999
"""The largest count that a file may hold; see `feedback.counts`."""
HISTORY = 8
"""Published cycles before the newest one that freshness and volume look at."""
MIN_HISTORY = 5
"""Cycles with rows that a volume needs before it, to be judged at all."""
BAND = 4.0
"""Robust standard deviations that a volume may lie from the median of its history."""
LEAST_SPREAD = 0.125
"""A standard deviation counts as at least this share of the median, so that the band is never narrower than +-50%."""


@dataclass(frozen=True)
class Expectation:
    """One of Great Expectations' own expectations, by the name it has there."""

    kind: str
    arguments: Mapping[str, object]


@dataclass(frozen=True)
class DbtTest:
    """A generic test of `dbt_project/macros`, with its arguments."""

    macro: str
    arguments: Mapping[str, object]


@dataclass(frozen=True)
class Rule:
    """One rule about the facts of a feed.

    Attributes:
        name: unique within the contract; the same in Great Expectations, dbt and the docs.
        kind: what sort of rule it is.
        severity: block: a cycle does not close while it is broken. warn: it shows, and the cycle closes.
        about: `facts`, one row per fact, or `cycles`, one row per cycle.
        columns: the columns that say what was found.
        expected: what it says, in words, as a sentence without a full stop.
        advice: what a person does when it is broken.
        expectations: the same to Great Expectations; the rule holds when all of them do.
        dbt_test: the same to dbt.
        violation: SQL condition that is true for the rows that break it, over the columns of its frame.
        derived: columns that the frame needs for it, as SQL over `facts`, `totals` and `published`.
    """

    name: str
    kind: RuleKind
    severity: Severity
    about: Literal["facts", "cycles"]
    columns: tuple[str, ...]
    expected: str
    advice: str
    expectations: tuple[Expectation, ...]
    dbt_test: DbtTest
    violation: str
    derived: Mapping[str, str] = field(default_factory=dict)


_NOT_OURS = (
    "Landing a file never writes such a row, so something else wrote to the lake: find the batch by its id in "
    "`lake.batches`, remove its file below data/lake, and hand the original in again."
)


def schema_rule(table: str, columns: Mapping[str, str]) -> Rule:
    """The files of the feed have the columns of their ledger; `columns` are DuckDB's types by name."""
    return Rule(
        name="schema",
        kind="schema",
        severity="block",
        about="cycles",
        columns=("cycle", "schema_problems"),
        expected=f"every file has the columns and types of `{table}`",
        advice="The lake was written by another version of this project: move data/lake aside and land the files of "
        "the inbox again.",
        expectations=(Expectation("expect_column_values_to_be_null", {"column": "schema_problems"}),),
        dbt_test=DbtTest("has_columns", {"table": table, "columns": dict(columns)}),
        violation="schema_problems is not null",
    )


def complete_rule(columns: Sequence[str], numbers: Sequence[str] = ()) -> Rule:
    """The columns are never empty; those of `numbers` are numbers besides."""
    conditions = [f"{name} is not null" for name in columns]
    conditions += [f"not isnan({name})" for name in numbers]
    condition = " and ".join(conditions)
    return Rule(
        name="complete",
        kind="complete",
        severity="block",
        about="facts",
        columns=tuple(columns),
        expected=f"{_listed(columns)} {'is' if len(columns) == 1 else 'are'} never empty",
        advice=_NOT_OURS,
        expectations=tuple(Expectation("expect_column_values_to_not_be_null", {"column": name}) for name in columns),
        dbt_test=DbtTest("holds_for_every_row", {"condition": condition}),
        violation=f"({condition}) is not true",
    )


def unique_rule(columns: Sequence[str], what: str, *, cycle: str = "cycle") -> Rule:
    """No two facts of a cycle agree in all the columns; `cycle` is what the ledger calls the cycle."""
    grouped = ", ".join(f"facts.{name}" for name in ("cycle", *columns))
    return Rule(
        name="unique",
        kind="unique",
        severity="block",
        about="facts",
        columns=tuple(columns),
        expected=what,
        advice=_NOT_OURS,
        expectations=(Expectation("expect_compound_columns_to_be_unique", {"column_list": list(columns)}),),
        dbt_test=DbtTest("unique_combination", {"columns": ["flywheel", cycle, *columns]}),
        violation="n_alike > 1",
        derived={"n_alike": f"count(*) over (partition by {grouped})"},
    )


def whole_counts_rule(column: str, *, of: Sequence[str] | None = None) -> Rule:
    """A column holds counts: whole numbers from 0 to the largest that a file may hold.

    `of` names the measures that are counted, where the feed brings others besides; None: all are.
    """
    held, counted = column, {}
    if of is not None:
        measures = ", ".join(f"'{name}'" for name in of)
        held = f"counted_{column}"
        counted = {held: f"case when facts.measure in ({measures}) then facts.{column} end"}
    condition = f"{held} between 0 and {MOST} and {held} = round({held})"
    in_dbt = f"isnan({column}) or ({condition.replace(held, column)})"
    return Rule(
        name="counts",
        kind="range",
        severity="block",
        about="facts",
        columns=(held,),
        expected=f"`{column}` is a whole number, 0 or more"
        + ("" if of is None else f", where {_listed(of, 'or')} is counted"),
        advice=_NOT_OURS,
        expectations=(
            Expectation("expect_column_values_to_be_between", {"column": held, "min_value": 0, "max_value": MOST}),
            Expectation(
                "expect_column_pair_values_to_be_equal",
                {"column_A": held, "column_B": f"{held}_in_whole", "ignore_row_if": "either_value_is_missing"},
            ),
        ),
        dbt_test=DbtTest("holds", {"condition": in_dbt if of is None else f"measure not in ({measures}) or {in_dbt}"}),
        violation=f"not isnan({held}) and not ({condition})",
        derived={**counted, f"{held}_in_whole": f"round({counted.get(held, f'facts.{column}')})"},
    )


def least_rule(column: str, measure: str, least: float) -> Rule:
    """The numbers of a measure are not below the smallest that it can be."""
    held = f"{column}_of_{measure}"
    return Rule(
        name=f"{measure}_at_least_{least:g}".replace(".", "_"),
        kind="range",
        severity="block",
        about="facts",
        columns=(held,),
        expected=f"`{column}` is {least:g} or more, where `{measure}` is measured",
        advice=_NOT_OURS,
        expectations=(Expectation("expect_column_values_to_be_between", {"column": held, "min_value": least}),),
        dbt_test=DbtTest("holds", {"condition": f"measure <> '{measure}' or {column} >= {least:g}"}),
        violation=f"{held} < {least}",
        derived={held: f"case when facts.measure = '{measure}' then facts.{column} end"},
    )


def share_rule(column: str) -> Rule:
    """A column holds shares, from 0 to 1."""
    return Rule(
        name=f"{column}_is_a_share",
        kind="range",
        severity="block",
        about="facts",
        columns=(column,),
        expected=f"`{column}` lies between 0 and 1 where there is one",
        advice=_NOT_OURS,
        expectations=(
            Expectation("expect_column_values_to_be_between", {"column": column, "min_value": 0, "max_value": 1}),
        ),
        dbt_test=DbtTest("in_range", {"column_name": column, "at_least": 0, "at_most": 1}),
        violation=f"{column} < 0 or {column} > 1",
    )


def one_of_rule(column: str, values: Sequence[str]) -> Rule:
    """A column holds one of a few words."""
    listed = ", ".join(f"'{value}'" for value in values)
    return Rule(
        name=f"{column}_is_known",
        kind="one_of",
        severity="block",
        about="facts",
        columns=(column,),
        expected=f"`{column}` is {_listed(values, 'or')}",
        advice=_NOT_OURS,
        expectations=(Expectation("expect_column_values_to_be_in_set", {"column": column, "value_set": list(values)}),),
        dbt_test=DbtTest("holds", {"condition": f"{column} in ({listed})"}),
        violation=f"{column} not in ({listed})",
    )


def rate_rule(metric: str, successes: str, exposure: str) -> Rule:
    """Of each output, as latest known and summed over its days, no more successes than exposure."""
    first, second = f"known_{successes}", f"known_{exposure}"
    return Rule(
        name=f"{metric}_within_exposure",
        kind="rate",
        severity="block",
        about="facts",
        columns=("output_id", first, second),
        expected=f"no output has more {successes} than {exposure} (`{metric}`), as latest known over all its days",
        advice=f"A correction of {exposure} without one of {successes}, or the other way round, is the usual cause: "
        "export both columns of these outputs again and hand the file in.",
        expectations=(
            Expectation(
                "expect_column_pair_values_a_to_be_greater_than_b",
                {"column_A": second, "column_B": first, "or_equal": True, "ignore_row_if": "either_value_is_missing"},
            ),
        ),
        dbt_test=DbtTest("rate_within_exposure", {"successes": successes, "exposure": exposure}),
        violation=f"{first} > {second}",
        derived={name: f"case when facts.is_first then totals.{name} end" for name in (first, second)},
    )


def known_outputs_rule(*, cycle: str = "cycle") -> Rule:
    """Every output was published in the cycle that the fact names; `cycle` is what the ledger calls it."""
    return Rule(
        name="known_outputs",
        kind="known",
        severity="block",
        about="facts",
        columns=("output_id", "cycle"),
        expected="every output was published in the cycle that the fact belongs to",
        advice=_NOT_OURS,
        expectations=(
            Expectation("expect_column_values_to_be_in_set", {"column": "is_published", "value_set": [True]}),
        ),
        dbt_test=DbtTest("published_in_its_cycle", {"cycle": cycle}),
        violation="not is_published",
        derived={"is_published": "published.output_id is not null"},
    )


def fresh_rule(expected_within: int, mature_after: int) -> Rule:
    """No published cycle stays without rows of the feed for longer than declared; the oldest ones are let be."""
    later = "the cycle after it was" if expected_within == 1 else f"{expected_within} cycles after it were"
    return Rule(
        name="fresh",
        kind="fresh",
        severity="warn",
        about="cycles",
        columns=("cycle", "cycles_silent"),
        expected=f"a cycle has rows of this feed by the time that {later} opened (`expected_within`)",
        advice="Look whether the export still runs, and hand in what is missing; the cycle is closed again by itself.",
        expectations=(
            Expectation(
                "expect_column_values_to_be_between", {"column": "cycles_silent", "max_value": expected_within - 1}
            ),
        ),
        dbt_test=DbtTest("reported_within", {"cycles": expected_within, "history": HISTORY + mature_after}),
        violation=f"cycles_silent >= {expected_within}",
    )


def volume_rule(mature_after: int) -> Rule:
    """The newest mature cycle has about as many rows as those before it."""
    return Rule(
        name="volume",
        kind="volume",
        severity="warn",
        about="cycles",
        columns=("cycle", "n_rows", "usual_rows", "volume_deviation"),
        expected=f"the newest cycle with a full measurement window has a usual number of rows: within {BAND:g} robust "
        f"standard deviations (at least {BAND * LEAST_SPREAD:.0%}) of the median of up to {HISTORY} cycles before it, "
        f"once there are {MIN_HISTORY}",
        advice="Look whether the export was cut off or doubled, and hand the right one in; if the business has "
        "changed, the band follows within a few cycles.",
        expectations=(
            Expectation(
                "expect_column_values_to_be_between",
                {"column": "volume_deviation", "min_value": -BAND, "max_value": BAND},
            ),
        ),
        dbt_test=DbtTest(
            "volume_as_usual",
            {
                "mature_after": mature_after,
                "history": HISTORY,
                "min_history": MIN_HISTORY,
                "band": BAND,
                "least_spread": LEAST_SPREAD,
            },
        ),
        violation=f"abs(volume_deviation) > {BAND}",
    )


def _listed(names: Sequence[str], last: str = "and") -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"
