"""The rows that a feed's contract is held against, read from the lake.

Here: the frame of facts, one row per fact of the cycles asked for, with what the rules need beside it. Not here: the
frame of cycles (`history`), or the verdicts (`suite`).

Great Expectations works on pandas frames, which would take minutes over millions of facts. DuckDB therefore marks every
row that some rule objects to, and of a large feed only these are handed on, with a few others. All that breaks a rule
is among them, so verdicts and counts are those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.feedback.contracts.feed_contract import FeedContract
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.lake.tables import BATCHES, EXPORTS, METRIC_REPLACEMENTS, PUBLISHED_OUTPUTS

WHOLE_UP_TO = 5_000
"""Facts up to which Great Expectations sees every one of them."""
FINE_ROWS = 200
"""Rows without objection that it sees of a larger feed."""
MOST_SUSPECTS = 5_000
"""Rows with objections that it sees at most; a rule broken more often is said to be broken at least as often."""
FACTS_AT_ONCE = 2_000_000
"""Facts that DuckDB is given at once: cycles are taken together up to here."""


@dataclass(frozen=True)
class FactFrame:
    """The facts of a feed in some cycles.

    Attributes:
        rows: all of them, or of a large feed those that some rule objects to and a few others.
        n_facts: how many there are.
        n_suspects: how many of them some rule objects to.
        batches: the batches they came with.
    """

    rows: pd.DataFrame
    n_facts: int
    n_suspects: int
    batches: frozenset[str]

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows with objections than were handed on."""
        return self.n_suspects > MOST_SUSPECTS


def batches_of_feed(lake: Lake, contract: FeedContract, knowledge_cutoff: datetime | None = None) -> pa.Table:
    """The rows of `batches` that came by the feed and were known by the cutoff."""
    found = lake.read(BATCHES, contract.flywheel)
    ours = found.filter(pc.field("feed") == contract.feed)
    return ours if knowledge_cutoff is None else ours.filter(pc.field("recorded_at") <= knowledge_cutoff)


def read_facts(
    lake: Lake, contract: FeedContract, cycles: Sequence[date], batches: pa.Table, sizes: Sequence[tuple[date, int]]
) -> FactFrame:
    """The facts of the feed in the cycles, with the columns that the rules need.

    Args:
        lake: where from.
        contract: the feed's contract.
        cycles: in order; those whose files are no files of the ledger are left out by the caller.
        batches: the rows of `batches` that count.
        sizes: how many facts each cycle has, for taking cycles together.
    """
    frames: list[pa.Table] = []
    n_facts = n_suspects = 0
    seen: set[str] = set()
    for group in _together(cycles, dict(sizes)):
        facts = _facts(lake, contract, group, batches)
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            _describe(connection, lake, contract, group, facts)
            counts = connection.execute("select count(*), count(*) filter (is_suspect) from judged").fetchone()
            assert counts is not None
            n_facts, n_suspects = n_facts + counts[0], n_suspects + counts[1]
            frames.append(_handed_on(connection, whole=counts[0] <= WHOLE_UP_TO))
            used = connection.execute("select distinct batch_id from judged order by batch_id").fetchall()
            seen |= {batch_id for (batch_id,) in used}
    rows = pa.concat_tables(frames) if frames else None
    frame = rows.to_pandas(date_as_object=True) if rows is not None else pd.DataFrame()
    return FactFrame(frame, n_facts, n_suspects, frozenset(seen))


def _together(cycles: Sequence[date], sizes: dict[date, int]) -> Iterator[list[date]]:
    group: list[date] = []
    for cycle in cycles:
        if group and sum(sizes.get(one, 0) for one in [*group, cycle]) > FACTS_AT_ONCE:
            yield group
            group = []
        group.append(cycle)
    if group:
        yield group


def _facts(lake: Lake, contract: FeedContract, cycles: Sequence[date], batches: pa.Table) -> pa.Table:
    if contract.has_cycles:
        found = lake.read(contract.ledger, contract.flywheel, CycleWindow(cycles[0], cycles[-1]))
    else:
        found = lake.read(contract.ledger, contract.flywheel)
        found = found.append_column("cycle", found.column("output_cycle"))
    ours = pc.field("batch_id").isin(batches.column("batch_id").to_pylist())
    return found.filter(ours & pc.field("cycle").isin(list(cycles)))


def _describe(
    connection: duckdb.DuckDBPyConnection, lake: Lake, contract: FeedContract, cycles: Sequence[date], facts: pa.Table
) -> None:
    """Make the table `judged`: the facts, what the rules need beside them, and whether some rule objects."""
    connection.register("given", facts)
    rules = contract.of_frame("facts")
    derived = {name: sql for rule in rules for name, sql in rule.derived.items()}
    needs_published = any("published." in sql for sql in derived.values())
    window = CycleWindow(cycles[0], cycles[-1])
    connection.register("published", _published(lake, contract.flywheel, window if needs_published else None))
    key = ", ".join(["cycle", "batch_id", "source_row", *contract.ledger.key])
    if contract.measures:
        connection.register("replacements", lake.read(METRIC_REPLACEMENTS, contract.flywheel, window))
        totals = _totals(contract)
        # What is said of an output as a whole stands beside its newest fact, which is most likely what changed it.
        first = f"row_number() over (partition by cycle, output_id order by recorded_at desc, {key}) = 1"
    else:
        totals, first = "select null::date as cycle, null::varchar as output_id where false", "false"
    added = "".join(f", {sql} as {name}" for name, sql in derived.items())
    output = "facts.output_id" if "output_id" in facts.column_names else "null::varchar"
    suspect = " or ".join(f"coalesce({rule.violation}, false)" for rule in rules)
    connection.execute(f"""
        create temp table judged as
        with facts as (select *, {first} as is_first from given),
        totals as ({totals}),
        described as (
            select facts.* exclude (is_first){added}
            from facts
            left join totals on totals.cycle = facts.cycle and totals.output_id = {output}
            left join published on published.cycle = facts.cycle and published.output_id = {output}
        )
        select *, ({suspect}) as is_suspect from described order by {key}
    """)


def _totals(contract: FeedContract) -> str:
    """What is known of each output, summed over its days: the latest of each key, less what was replaced."""
    sums = ", ".join(f"sum(value) filter (where measure = '{name}') as known_{name}" for name in contract.measures)
    return f"""
        select cycle, output_id, {sums}
        from (
            select * from given
            where not exists (
                select 1 from replacements
                where replacements.feed = '{contract.feed}'
                    and replacements.cycle = given.cycle
                    and given.measured_on between replacements.first_day and replacements.last_day
                    and (given.recorded_at, given.batch_id) < (replacements.recorded_at, replacements.batch_id)
            )
            qualify row_number() over (
                partition by cycle, output_id, measure, measured_on
                order by recorded_at desc, batch_id desc, source_row desc
            ) = 1
        )
        group by cycle, output_id
    """


def _published(lake: Lake, flywheel: str, window: CycleWindow | None) -> pa.Table:
    """Every output that ever went out in a cycle, also by an attempt that a later one replaced."""
    columns = ["cycle", "output_id"]
    if window is None:
        return pa.schema([("cycle", pa.date32()), ("output_id", pa.string())]).empty_table()
    out = [lake.read(table, flywheel, window, columns=columns) for table in (PUBLISHED_OUTPUTS, EXPORTS)]
    return pa.concat_tables(out).group_by(columns).aggregate([])


def _handed_on(connection: duckdb.DuckDBPyConnection, *, whole: bool) -> pa.Table:
    if whole:
        return connection.execute("select * from judged").to_arrow_table()
    return connection.execute(f"""
        (select * from judged where is_suspect limit {MOST_SUSPECTS})
        union all
        (select * from judged where not is_suspect limit {FINE_ROWS})
    """).to_arrow_table()
