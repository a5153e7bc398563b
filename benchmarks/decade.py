"""Ten years of one flywheel that writes, as a lake: made in SQL, straight into Parquet, each table by its contract.

At scale 1: 520 weeks of 4,808 briefs with four outputs each, two of them published (10 million written, 5 million
out), a request for each output, ten measurements for each published one (50 million). Values are drawn by hashing ids,
so that the same scale gives the same lake; nothing in them is to be learned from.

Here: making it. Not here: measuring (`warehouse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.layer_views import quoted, view_columns
from flywheel_pipelines.lake.markers import marker_path
from flywheel_pipelines.lake.store import PART, Lake

FLYWHEEL = "decade"
FIRST = date(2016, 1, 4)
CYCLES = 520
BRIEFS = 4808
"""Briefs of a cycle at scale 1."""
SEGMENTS = 8
REFERENCES = 20
DAYS = 5
_SETTINGS = (
    '{"cadence": "weekly", "measurement_window": 2, '
    '"metrics": {"ctr": {"kind": "rate", "successes": "clicks", "exposure": "views"}}}'
)
_BLANK = {"VARCHAR": "''", "DOUBLE": "0", "BIGINT": "0", "BOOLEAN": "false", "VARCHAR[]": "[]", "DOUBLE[]": "[]"}

_OUTPUTS = """
with written as (
    select
        printf('{n:03d}-%05d', brief) as brief_id, 's' || brief % {segments} as segment,
        printf('{n:03d}-%05d-%d', brief, variant) as output_id,
        printf('r{n:03d}-%05d-%d', brief, variant) as request_key,
        brief, variant, variant < 3 as is_flywheel,
        if(variant < 3, 'flywheel', 'control') as arm,
        hash(output_id) % 1000 / 1000 as chance, 100 + hash(output_id, 1) % 900 as views,
        0.05 + 0.05 * (hash(brief_id) % 100) / 100 + if(variant < 3, 0.01, 0) as rate,
        views * {days} as exposure, floor(views * rate) * {days} as clicks, clicks / exposure as ctr
    from range({briefs}) as b(brief) cross join range(4) as v(variant)
),
published as (from written where variant in (0, 3)),
in_corpus as (
    select printf('%03d-%05d-0', {n} - number % 10, number) as reference_id, {n} - number % 10 as source,
        's' || number % {segments} as segment, number + 1 as rank
    from range({references}) as r(number)
    where {n} - number % 10 >= 0 and number < {briefs}
)
"""
_SHOWN = (
    "list_filter([if({n} - 1 - b % 10 >= 0, printf('%03d-%05d-0', {n} - 1 - b % 10, b), null) "
    "for b in [brief % {known}, (brief + 1) % {known}]], x -> x is not null)"
)
Columns = Mapping[str, str]
_ROWS: dict[TableContract, tuple[str, Columns]] = {
    tables.BRIEFS: ("written where variant = 0", {"title": "'Brief ' || brief_id"}),
    tables.GENERATED_OUTPUTS: (
        "written",
        {
            "attempt": "1", "text": "'A text of forty letters or so for ' || output_id", "producer": "'llm'",
            "model": "'some-model'", "prompt_version": "if(is_flywheel, '{prompt}', 'control')",
            "reference_ids": f"if(is_flywheel, {_SHOWN}, [])", "predicted": "chance", "rank": "variant + 1",
        },
    ),
    tables.LLM_REQUESTS: (
        "written",
        {
            "attempt": "1", "model": "'some-model'", "prompt_version": "if(is_flywheel, '{prompt}', 'control')",
            "mode": "'live'", "structured_output": "'json_schema'", "messages": "'[]'", "status": "'answered'",
            "answer": "'An answer'", "n_tries": "1", "tries": "'[]'", "prompt_tokens": "300 + brief % 100",
            "cached_tokens": "0", "completion_tokens": "40", "cost": "0.0004", "latency": "chance",
            "batch_id": "'open-{n:03d}'", "recorded_at": "{opened}", "source_row": "brief * 4 + variant + 1",
        },
    ),
    tables.PUBLISHED_OUTPUTS: (
        "published",
        {"text": "'A text'", "predicted": "chance", "weight": "1", "probability": "0.9", "choice": "'best'"},
    ),
    tables.EXPORTS: (
        "published",
        {"export": "1", "batch_id": "'open-{n:03d}'", "recorded_at": "{opened}", "source_row": "brief * 4 + variant"},
    ),
    tables.METRIC_LEDGER: (
        "published cross join range({days}) as d(day) cross join (values ('clicks'), ('views')) as m(measure)",
        {
            "measured_on": "{cycle} + day::int", "value": "if(measure = 'views', views, floor(views * rate))",
            "batch_id": "'facts-{n:03d}'", "recorded_at": "{closed}",
            "source_row": "(brief * 4 + variant) * 100 + day * 2 + (measure = 'views')::int",
        },
    ),
    tables.PERFORMANCE_METRICS: (
        "published",
        {
            "metric": "'ctr'", "numerator": "clicks", "value": "ctr", "n_reports": "{days}", "is_mature": "true",
            "known_at": "{closed}",
        },
    ),
    tables.SCORED_OUTPUTS: (
        "published",
        {
            "metric": "'ctr'", "observed": "ctr", "prior_mean": "0.07", "prior_strength": "50", "posterior_mean": "ctr",
            "lower": "ctr * 0.9", "upper": "ctr * 1.1", "floor_level": "0.08", "p_above": "chance",
            "decision": "case when chance > 0.9 then 'promote' when chance > 0.4 then 'hold' else 'reject' end",
            "reason": "'as drawn'", "is_mature": "true", "threshold_version": "'floor'",
        },
    ),
    tables.ANCESTRY: (
        "written",
        {"depth": "if(is_flywheel, 1 + {n} // 10, 0)", "mean_depth": "1", "text_hash": "output_id"},
    ),
    tables.BRIEF_OUTCOMES: (
        "(select brief_id, segment, max(ctr) filter (is_flywheel) as flywheel_value, "
        "max(ctr) filter (not is_flywheel) as control_value from published group by all)",
        {"n_measured": "2", "is_counted": "true"},
    ),
    tables.REFERENCE_CORPUS: (
        "in_corpus",
        {
            "text": "'A text'", "source_cycle": "{first} + (source * 7)::int", "quality": "0.9", "p_above": "0.95",
            "reason": "'promoted'", "by_people": "'none'", "depth": "1", "mean_depth": "1",
            "corpus_version": "'corpus-{n}'", "freshness": "1", "relevance": "1",
        },
    ),
    tables.COLLAPSE_SIGNS: ("(select unnest(['corpus', 'outputs']) as scope)", {"n_texts": "{known}"}),
    tables.REFRESHED_PROMPT: (
        "(select 1)",
        {
            "prompt_version": "'{refreshed}'", "parent_version": "'{prompt}'", "corpus_version": "'corpus-{n}'",
            "author": "'references'", "is_changed": "'{refreshed}' <> '{prompt}'", "frame_version": "'frame'",
        },
    ),
    tables.CYCLE_MANIFEST: (
        "(select 1)",
        {
            "predecessor": "if({n} > 0, {cycle} - 7, null)", "prompt_version": "'{prompt}'",
            "control_prompt_version": "'control'", "corpus_version": "if({n} > 0, 'corpus-' || ({n} - 1), 'none')",
            "scoring_model_version": "'none'", "threshold_version": "'floor'", "config_hash": "'settings'",
            "settings": quoted(_SETTINGS).replace("{", "{{").replace("}", "}}"), "model": "'some-model'",
            "attempt": "1", "is_synthetic": "true",
        },
    ),
    tables.MOMENTUM: (
        "(select unnest(['cycle', 'cumulative']) as scope)",
        {
            "metric": "'ctr'", "n_briefs": "if(scope = 'cycle', {briefs}, {briefs} * ({n} + 1))", "lift": "0.1",
            "lower": "0.05", "upper": "0.15", "anytime_lift": "0.1", "anytime_lower": "0.02", "anytime_upper": "0.2",
            "flywheel_mean": "0.085", "control_mean": "0.075",
        },
    ),
    tables.SEGMENT_MOMENTUM: (
        "(select 's' || number as segment from range({segments}) as s(number))",
        {"metric": "'ctr'", "n_flywheel": "10", "n_control": "10", "lift": "0.1", "lower": "-0.1", "upper": "0.3"},
    ),
    tables.AUDIT: (
        "(select number as item from range(1, 8) as i(number))",
        {"question": "'Question ' || item", "passed": "true", "evidence": "'as drawn'"},
    ),
    tables.RESTATEMENTS: (
        "published where brief % 50 = 0",
        {
            "subject": "'metric'", "metric": "'ctr'", "old_value": "ctr * 0.9", "new_value": "ctr",
            "old_exposure": "exposure", "new_exposure": "exposure", "caused_by": "['facts-{n:03d}']",
            "batch_id": "'facts-{n:03d}'", "recorded_at": "{closed}", "source_row": "brief * 4 + variant",
        },
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Decade:
    """A lake of `n_cycles` cycles of `n_briefs` briefs."""

    lake: Lake
    n_cycles: int
    n_briefs: int

    @classmethod
    def of(cls, lake: Lake, scale: float) -> Decade:
        """Both numbers shrink, the briefs faster: a cycle is still some hundred outputs."""
        n_cycles = max(12, round(CYCLES * min(1.0, scale**0.5)))
        return cls(lake, n_cycles, max(REFERENCES * 2, round(BRIEFS * CYCLES * scale / n_cycles)))

    @property
    def outputs(self) -> int:
        """Outputs that were written."""
        return 4 * self.n_briefs * self.n_cycles

    @property
    def measurements(self) -> int:
        """Rows of the ledger of measurements."""
        return 4 * DAYS * self.n_briefs * self.n_cycles

    def write(self) -> None:
        """Write every cycle but the last, which `write_cycle` adds."""
        with duckdb.connect() as connection:
            _write_prompts(connection, self)
            for number in range(self.n_cycles - 1):
                self._write(connection, number)

    def write_cycle(self, number: int) -> None:
        """Write one cycle, opened and closed."""
        with duckdb.connect() as connection:
            self._write(connection, number)

    def _write(self, connection: duckdb.DuckDBPyConnection, number: int) -> None:
        cycle = FIRST + timedelta(weeks=number)
        opened, closed = _instant(cycle), _instant(cycle + timedelta(weeks=2))
        words = {
            "n": number, "briefs": self.n_briefs, "segments": SEGMENTS, "references": REFERENCES, "days": DAYS,
            "known": min(REFERENCES, self.n_briefs), "cycle": f"date '{cycle}'", "first": f"date '{FIRST}'",
            "opened": f"timestamptz '{opened}'", "closed": f"timestamptz '{closed}'", "prompt": _prompt(number),
            "refreshed": _prompt(number + 1),
        }  # fmt: skip
        for name in ("written", "published", "in_corpus"):
            connection.execute(f"create or replace temp table t_{name} as {_OUTPUTS.format(**words)} from {name}")
        for contract, (source, columns) in _ROWS.items():
            filled = {name: text.format(**words) for name, text in columns.items()}
            file = f"{_batch_of(filled)}.parquet" if contract.kind == "ledger" else PART
            path = self.lake.partition_dir(contract, flywheel=FLYWHEEL, cycle=cycle) / file
            with_names = " ".join(f"t_{word}" if word in {"written", "published", "in_corpus"} else word
                                  for word in source.format(**words).split(" "))  # fmt: skip
            _copy(connection, contract, with_names, filled, path)
        for batch, recorded_at in ((f"open-{number:03d}", opened), (f"facts-{number:03d}", closed)):
            _write_batch(connection, self.lake, batch, recorded_at)


def _prompt(number: int) -> str:
    """The prompt of the flywheel arm, which changes every fourth cycle."""
    return f"prompt-{number // 4:03d}"


def _instant(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _batch_of(columns: Columns) -> str:
    return columns["batch_id"].strip("'")


def _write_batch(connection: duckdb.DuckDBPyConnection, lake: Lake, batch: str, recorded_at: datetime) -> None:
    folder = lake.partition_dir(tables.BATCHES, flywheel=FLYWHEEL)
    columns = {
        "batch_id": quoted(batch),
        "source": quoted(f"{batch}.csv"),
        "recorded_at": f"timestamptz '{recorded_at}'",
    }
    _copy(connection, tables.BATCHES, "(select 1)", columns, marker_path(folder, batch, recorded_at))


def _write_prompts(connection: duckdb.DuckDBPyConnection, decade: Decade) -> None:
    """Every prompt that will be used, in one batch."""
    names = [_prompt(number) for number in range(0, decade.n_cycles + 1, 4)]
    names.append("control")
    source = f"(select unnest([{', '.join(map(quoted, sorted(set(names))))}]) as prompt_version)"
    recorded_at = _instant(FIRST)
    columns = {
        "frame_version": "'frame'", "author": "'references'", "corpus_version": "'none'", "frame": "'A frame'",
        "shown_references": "'[]'", "batch_id": "'prompts'", "recorded_at": f"timestamptz '{recorded_at}'",
    }  # fmt: skip
    path = decade.lake.partition_dir(tables.PROMPT_VERSIONS, flywheel=FLYWHEEL) / "prompts.parquet"
    _copy(connection, tables.PROMPT_VERSIONS, source, columns, path)
    _write_batch(connection, decade.lake, "prompts", recorded_at)


def _copy(
    connection: duckdb.DuckDBPyConnection, contract: TableContract, source: str, columns: Columns, path: Path
) -> None:
    """Write rows as one file of the contract's columns: those given, those of the source by name, the rest blank."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {column[0] for column in connection.execute(f"describe select * from {source}").fetchall()}
    chosen = []
    for field in contract.schema:
        kind = view_columns(contract)[field.name][0]
        blank = "null" if field.nullable else _BLANK.get(kind, "null")
        value = columns.get(field.name, field.name if field.name in known else blank)
        chosen.append(f"cast({value} as {kind}) as {field.name}")
    # Without waiting for the disk: nobody reads it before all of it is there.
    connection.execute(
        f"copy (select {', '.join(chosen)} from {source}) to {quoted(str(path))} (format parquet, compression zstd)"
    )
