"""`InsightFlywheelComponent`: one YAML becomes the assets and jobs of one insight flywheel. Wiring only."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from flywheel_pipelines.components.kit import column_schema, result
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.cycles import partitions_definition
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.loop.insight.checking import personal_data_left, quotes_not_verbatim
from flywheel_pipelines.loop.insight.following import follow_trends, judge_fixes, keep_library
from flywheel_pipelines.loop.insight.landing import hand_out_sheet, land_inbox
from flywheel_pipelines.loop.insight.sorting import sort_tickets
from flywheel_pipelines.loop.recorder import Recorder, Shown
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.report.themes import write_theme_report
from flywheel_pipelines.spec import InsightSpec

Step = Callable[[InsightSpec, Recorder, Sequence[date]], Shown]


class InsightFlywheelComponent(dg.Component):
    """Support tickets sorted into themes that keep their ids, what moves among them, and whether fixes worked.

    Makes the assets `[name, table]` in the group `name`, and the jobs `<name>__open` (sort the tickets of a cycle and
    name what is new), `<name>__close` (library, trends, effects and report, of a cycle or a range in one run) and
    `<name>__catch_up` (both). Opening a cycle needs the library that the cycle before left: the edge at which the loop
    is cut.
    """

    def __init__(self, spec: InsightSpec, folder: Path | None = None) -> None:
        """An insight flywheel from its checked spec."""
        self.spec = spec
        self.folder = folder

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The attributes are the spec."""
        return InsightSpec

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> "InsightFlywheelComponent":
        """The component of one `defs.yaml`."""
        return cls(attributes, context.path)

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """How the component presents itself in `dg list components` and the docs."""
        return dg.ComponentTypeSpec(description=cls.__doc__, tags=["flywheel"], owners=["team:flywheel"])

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets and jobs of this flywheel."""
        opening, closing = [self._ticket_themes()], self._closing()
        jobs = [
            self._job("open", "Sort a cycle's tickets into themes; name what is new.", opening),
            self._job("close", "Library, trends, effects of fixes and report, of a cycle or a range.", closing),
            self._job(
                "catch_up", "Open and close; a backfill over a range of the past goes in order.", opening + closing
            ),
        ]
        return dg.Definitions(assets=dg.with_source_code_references([*opening, *closing]), jobs=jobs)

    def _ticket_themes(self) -> dg.AssetsDefinition:
        spec = self.spec
        key = dg.AssetKey([spec.name, tables.TICKET_THEMES.name])
        checks = [
            dg.AssetCheckSpec(
                "no_personal_data", asset=key, blocking=True,
                description="No e-mail address, phone, card or account number is in a ticket, a theme or a request.",
            ),
            dg.AssetCheckSpec(
                "quotes_verbatim", asset=key, blocking=True,
                description="Every quote stands letter by letter in the ticket of its id, which is one of its theme.",
            ),
        ]  # fmt: skip

        @self._asset(tables.TICKET_THEMES, many=False, check_specs=checks)
        def ticket_themes(
            context: dg.AssetExecutionContext, lake: LakeResource, llm: LlmResource
        ) -> dg.MaterializeResult:
            recorder, cycles = Recorder(lake.open(), spec.name), _cycles(context)
            with _told():
                now = datetime.now(UTC)
                shown = land_inbox(spec, recorder.store, DataPaths.from_environment().inbox, now)
                shown |= sort_tickets(spec, recorder, cycles, llm.writers())
            found = {
                "no_personal_data": [
                    one for cycle in cycles for one in personal_data_left(spec, recorder.store, cycle)
                ],
                "quotes_verbatim": [
                    one for cycle in cycles for one in quotes_not_verbatim(spec, recorder.store, cycle)
                ],
            }
            return result(recorder, shown, [_check(name, wrong) for name, wrong in found.items()])

        return ticket_themes

    def _closing(self) -> list[dg.AssetsDefinition]:
        library = self._step(tables.THEME_LIBRARY, tables.TICKET_THEMES, keep_library)
        trends = self._step(tables.THEME_TRENDS, tables.THEME_LIBRARY, follow_trends)
        return [library, trends, self._step(tables.FIX_EFFECTS, tables.THEME_TRENDS, judge_fixes), self._report()]

    def _step(self, table: TableContract, after: TableContract, step: Step) -> dg.AssetsDefinition:
        spec = self.spec

        @self._asset(table, many=True, deps=[dg.AssetKey([spec.name, after.name])])
        def closes(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
            recorder = Recorder(lake.open(), spec.name)
            with _told():
                return result(recorder, step(spec, recorder, _cycles(context)))

        return closes

    def _report(self) -> dg.AssetsDefinition:
        spec = self.spec

        @dg.asset(
            key=dg.AssetKey([spec.name, "theme_report"]),
            deps=[dg.AssetKey([spec.name, tables.FIX_EFFECTS.name])],
            partitions_def=partitions_definition(spec.start, spec.cadence),
            backfill_policy=dg.BackfillPolicy.single_run(),
            group_name=spec.name,
            pool=spec.name,
            owners=list(spec.owners),
            kinds={"python", "html"},
            tags={"layer": "learning"},
            description="What customers said in the cycle, as a page for people.",
        )
        def theme_report(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
            paths, store, page, markdown, sheet = DataPaths.from_environment(), lake.open(), Path(), Path(), None
            for cycle in _cycles(context):
                page, markdown = write_theme_report(spec, store, cycle, paths.reports)
                sheet = hand_out_sheet(spec, store, cycle, paths.root / "reviews")
            return dg.MaterializeResult(
                metadata={
                    "page": dg.MetadataValue.path(page),
                    "review_sheet": str(sheet or "nothing waits for a review"),
                    "report": dg.MetadataValue.md(markdown.read_text(encoding="utf-8")),
                }
            )

        return theme_report

    def _asset(
        self,
        table: TableContract,
        *,
        many: bool,
        deps: Sequence[dg.AssetKey] = (),
        check_specs: Sequence[dg.AssetCheckSpec] = (),
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        spec = self.spec
        synthetic = {"synthetic": "true"} if spec.is_synthetic else {}
        return dg.asset(
            key=dg.AssetKey([spec.name, table.name]),
            deps=list(deps),
            partitions_def=partitions_definition(spec.start, spec.cadence),
            backfill_policy=dg.BackfillPolicy.single_run() if many else dg.BackfillPolicy.multi_run(1),
            group_name=spec.name,
            pool=spec.name,
            owners=list(spec.owners),
            kinds={"python", "parquet"},
            tags={"layer": table.layer, **synthetic},
            description=table.description,
            metadata={"dagster/column_schema": column_schema(table), "dagster/table_name": table.name},
            check_specs=list(check_specs),
        )

    def _job(self, verb: str, description: str, assets: list[dg.AssetsDefinition]) -> Any:
        return dg.define_asset_job(
            f"{self.spec.name}__{verb}",
            selection=dg.AssetSelection.assets(*assets),
            description=description,
            executor_def=dg.in_process_executor,
            tags={"flywheel": self.spec.name, "phase": verb},
        )


class _told:
    """Errors meant for people end the step with their words."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Give the words to Dagster."""
        if isinstance(error, FlywheelError):
            raise dg.Failure(description=str(error), allow_retries=False) from error


def _cycles(context: dg.AssetExecutionContext) -> list[date]:
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


def _check(name: str, wrong: Sequence[str]) -> dg.AssetCheckResult:
    words = "; ".join(wrong[:3]) if wrong else "Nothing found."
    return dg.AssetCheckResult(check_name=name, passed=not wrong, description=words, metadata={"found": len(wrong)})
