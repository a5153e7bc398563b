"""What the assets of every flywheel share: how they are declared, and what they show after a run.

Here: the asset decorator with group, owners, kinds, tags and column schema; row counts and previews as metadata.
Dependencies are the arrows of the loop, so that the graph reads as the loop: what a step reads from further upstream
adds no arrow, since it neither orders nor selects anything that the loop does not; `input_versions` records it. Neither
does what it reads of earlier cycles: an arrow from a window of cycles has Dagster take a backfill of a range apart into
several runs, one waiting for the other (tried on 1.13), where one run goes through them in order.
Not here: the assets (`production_assets.py`, `learning_assets.py`) and any logic (`loop`).
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import dagster as dg
import pyarrow as pa

from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.cycles import partitions_definition
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.contracts import PARTITION_COLUMNS, TableContract
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.inspecting import Finding
from flywheel_pipelines.loop.recorder import Markdown, Recorder
from flywheel_pipelines.loop.turns import deadline_cron
from flywheel_pipelines.spec import AnySpec, FlywheelSpec

SomeSpec = TypeVar("SomeSpec", bound=AnySpec)

# One run per cycle is what is wanted of it, and what Dagster chooses when it warns.
warnings.filterwarnings("ignore", r"Asset job \w+__catch_up materializes assets with varying BackfillPolicies")

LOOP: Mapping[str, frozenset[str]] = {
    "briefs": frozenset(),
    "cycle_manifest": frozenset({"briefs"}),
    "generated_outputs": frozenset({"cycle_manifest"}),
    "published_outputs": frozenset({"generated_outputs"}),
    "performance_metrics": frozenset({"published_outputs"}),
    "scored_outputs": frozenset({"published_outputs", "performance_metrics"}),
    "scoring_model": frozenset({"scored_outputs"}),
    "reference_corpus": frozenset({"scored_outputs"}),
    "prompt_gate": frozenset({"performance_metrics"}),
    "refreshed_prompt": frozenset({"reference_corpus", "prompt_gate"}),
    "momentum": frozenset({"scoring_model", "refreshed_prompt"}),
}
"""The arrows of the loop: each asset of a flywheel with those right before it. A test holds the assets to it.

Where requests go through the Batch API, `llm_batches` stands between the manifest and the outputs besides, and where a
model may propose prompts `proposed_prompt` between the briefs and the manifest; where the YAML has a section
`training_sets`, `training_examples` follows `scored_outputs`.
"""
INSIGHT_LOOP: Mapping[str, frozenset[str]] = {
    "ticket_themes": frozenset(),
    "theme_library": frozenset({"ticket_themes"}),
    "theme_trends": frozenset({"theme_library"}),
    "fix_effects": frozenset({"theme_trends"}),
    "theme_learning": frozenset({"fix_effects"}),
    "theme_report": frozenset({"theme_learning"}),
}
"""The same of an insight flywheel. What it learned is measured last, so that it says which cycles are closed."""
PREVIEW_ROWS = 8
PREVIEW_WIDTH = 90
UPRIGHT_ROWS = 2


class LoopKit(Generic[SomeSpec]):
    """Declares the assets and jobs of one flywheel of any kind alike."""

    def __init__(self, spec: SomeSpec) -> None:
        """A flywheel from its checked spec."""
        self.spec = spec
        self.partitions = partitions_definition(spec.start, spec.cadence)

    def key(self, table: TableContract) -> dg.AssetKey:
        """Asset key of one of the flywheel's tables."""
        return self.named(table.name)

    def named(self, asset: str) -> dg.AssetKey:
        """Asset key of one of the flywheel's assets."""
        return dg.AssetKey([self.spec.name, asset])

    def asset(
        self,
        table: TableContract,
        *,
        deps: Iterable[TableContract] = (),
        after: Iterable[dg.AssetKey] = (),
        many_cycles_per_run: bool,
        also_writes: Iterable[TableContract] = (),
        output_required: bool = True,
        check_specs: Iterable[dg.AssetCheckSpec] = (),
        has_deadline: bool = False,
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """Decorator: the function becomes the asset that fills `table`.

        `after` are assets of other flywheels that come before. Where its output is not required, a run in which it
        yields none ends well, without the assets that follow. An asset with a deadline shows as overdue when
        it was not made between a turn and the end of its hours of grace.
        """
        metadata: dict[str, Any] = {"dagster/column_schema": column_schema(table), "dagster/table_name": table.name}
        others = [other.name for other in also_writes]
        if others:
            metadata["also_writes"] = ", ".join(others)
        return dg.asset(
            **self._alike(table.name, table.layer, [*map(self.key, deps), *after], many_cycles_per_run),
            kinds={"python", "parquet"},
            description=table.description,
            metadata=metadata,
            output_required=output_required,
            check_specs=list(check_specs),
            freshness_policy=self._deadline() if has_deadline else None,
        )

    def page(
        self, name: str, description: str, *, layer: str, deps: Iterable[TableContract]
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """Decorator: the function becomes an asset that fills no table, but writes a page for people."""
        return dg.asset(
            **self._alike(name, layer, map(self.key, deps), many=True),
            kinds={"python", "html"},
            description=description,
        )

    def _alike(self, name: str, layer: str, deps: Iterable[dg.AssetKey], many: bool) -> dict[str, Any]:
        """What every asset of a flywheel is declared with."""
        return {
            "key": self.named(name),
            "deps": list(deps),
            "partitions_def": self.partitions,
            "backfill_policy": dg.BackfillPolicy.single_run() if many else dg.BackfillPolicy.multi_run(1),
            "group_name": self.spec.name,
            # One run of a flywheel at a time, however it was started: see `concurrency` in dagster.yaml.
            "pool": self.spec.name,
            "owners": list(self.spec.owners),
            "tags": {"layer": layer, **({"synthetic": "true"} if self.spec.is_synthetic else {})},
        }

    def job(self, verb: str, description: str, assets: Sequence[dg.AssetsDefinition]) -> Any:
        """The job `<name>__<verb>` over some of the flywheel's assets."""
        return dg.define_asset_job(
            f"{self.spec.name}__{verb}",
            selection=dg.AssetSelection.assets(*assets),
            description=description,
            # One process for the whole run: a process per step costs more than the step (seconds against tenths).
            executor_def=dg.in_process_executor,
            tags={"flywheel": self.spec.name, "phase": verb},
        )

    def _deadline(self) -> dg.FreshnessPolicy:
        grace = timedelta(hours=self.spec.schedule.grace_hours)
        return dg.FreshnessPolicy.cron(deadline_cron(self.spec), lower_bound_delta=grace)

    @contextmanager
    def step(self, lake: LakeResource) -> Iterator[Recorder]:
        """A recorder of what the step writes to the lake; errors meant for people end the step with their words."""
        try:
            yield Recorder(lake.open(), self.spec.name)
        except FlywheelError as error:
            # What the user has to put right does not come right by trying again.
            raise dg.Failure(description=str(error), allow_retries=False) from error

    def cycles(self, context: dg.AssetExecutionContext) -> list[date]:
        """The cycles this run is about, in order."""
        return sorted(date.fromisoformat(key) for key in context.partition_keys)


class AssetKit(LoopKit[FlywheelSpec]):
    """Declares the assets of one flywheel that produces outputs."""

    def __init__(self, spec: FlywheelSpec, folder: Path | None = None) -> None:
        """A flywheel from its checked spec; relative file names in it are looked up in `folder`."""
        super().__init__(spec)
        self.flywheel = Flywheel(spec, folder)


def result(
    recorder: Recorder, shown: Mapping[str, Any] | None = None, checks: Iterable[dg.AssetCheckResult] = ()
) -> dg.MaterializeResult:
    """Row counts over the run, a preview of the last cycle, and whatever the step says about itself."""
    written = recorder.written
    metadata: dict[str, Any] = {"dagster/partition_row_count": written[-1][1].n_rows if written else 0}
    # An asset writes its own table last in every cycle; the tables that it fills besides are not its rows.
    own = [partition for name, partition in written if name == written[-1][0]]
    if len(own) > 1:
        metadata["cycles"] = len(own)
        metadata["rows_in_run"] = sum(partition.n_rows for partition in own)
    # What the asset says about itself comes first: a preview fills the page.
    metadata |= {key: metadata_value(value) for key, value in (shown or {}).items()}
    if recorder.last is not None and recorder.last.num_rows:
        metadata["preview"] = dg.MetadataValue.md(preview(recorder.last))
    version = written[-1][1].version if written else None
    data_version = dg.DataVersion(version) if version else None
    return dg.MaterializeResult(metadata=metadata, data_version=data_version, check_results=list(checks))


def check_result(name: str, finding: Finding) -> dg.AssetCheckResult:
    """What an inspection found, as the UI shows it: red when it stops what follows, yellow when it only warns."""
    stops = finding.verdict == "stopped"
    return dg.AssetCheckResult(
        check_name=name,
        passed=finding.verdict == "passed",
        severity=dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN,
        description=finding.words,
        metadata={key: metadata_value(value) for key, value in finding.numbers.items()},
    )


def metadata_value(value: object) -> Any:
    """A number, word, list or mapping as the UI shows it."""
    if isinstance(value, dg.MetadataValue):
        return value
    if isinstance(value, Markdown):
        return dg.MetadataValue.md(value)
    if isinstance(value, Mapping):
        return dg.MetadataValue.json({key: _plain(item) for key, item in value.items()})
    return dg.MetadataValue.json([_plain(item) for item in value]) if isinstance(value, list | tuple) else value


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


class PlotConfig(dg.Config):
    """Run config of assets that show a picture."""

    plot: bool = True
    """Draw the picture of the last cycle; demos and replays draw it once, at their end."""


def picture(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG as the UI shows it: Dagster renders images of Markdown whose address holds them, in both its themes."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")


def furthest(assets: Iterable[str], loop: Mapping[str, frozenset[str]] = LOOP) -> list[str]:
    """Those of the assets of a loop that no other of them implies: an arrow from each says all there is to say."""
    chosen = set(assets)
    implied = set().union(*(_before(asset, loop) for asset in chosen)) if chosen else set()
    return sorted(chosen - implied)


def _before(asset: str, loop: Mapping[str, frozenset[str]]) -> set[str]:
    return set(loop[asset]).union(*(_before(parent, loop) for parent in loop[asset])) if loop[asset] else set()


def column_schema(table: TableContract) -> dg.TableSchema:
    """A contract as the column schema that the UI shows."""
    partition = [
        dg.TableColumn(name, PARTITION_COLUMNS[name][0].lower(), description=PARTITION_COLUMNS[name][1])
        for name in table.partition_by
        if name in PARTITION_COLUMNS
    ]
    own = [
        dg.TableColumn(
            field.name,
            str(field.type),
            description=table.describe(field.name),
            constraints=dg.TableColumnConstraints(nullable=field.nullable, unique=(field.name,) == table.key),
        )
        for field in table.schema
    ]
    return dg.TableSchema(columns=[*partition, *own])


def preview(data: pa.Table, rows: int = PREVIEW_ROWS) -> str:
    """The first rows as a Markdown table; long texts shortened, pipes and line breaks made harmless.

    One or two rows stand upright, a line per column: lying they would be wider than the page.
    """
    names = data.column_names
    if data.num_rows <= UPRIGHT_ROWS:
        return _upright(data)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines.extend(
        "| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in data.slice(0, rows).to_pylist()
    )
    if data.num_rows > rows:
        lines.append(f"\n{data.num_rows - rows} more rows")
    return "\n".join(lines)


def _upright(data: pa.Table) -> str:
    head = ["value"] if data.num_rows == 1 else [f"row {number}" for number in range(1, data.num_rows + 1)]
    lines = ["| " + " | ".join(["column", *head]) + " |", "|" + " --- |" * (1 + len(head))]
    rows = data.to_pylist()
    lines.extend("| " + " | ".join([name, *(_cell(row[name]) for row in rows)]) + " |" for name in data.column_names)
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        value = f"{len(value)} entries"
    text = "" if value is None else str(value)
    text = text.replace("|", "\\|").replace("\n", " ").replace("\r", " ")
    return text if len(text) <= PREVIEW_WIDTH else text[: PREVIEW_WIDTH - 1] + "…"
