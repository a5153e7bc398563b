"""`InsightFlywheelComponent`: one YAML becomes the assets and jobs of one insight flywheel. Wiring only."""

# No `from __future__ import annotations`: Dagster reads the type of an op's context from the annotation itself.
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from flywheel_pipelines.components.automation import insight_automation
from flywheel_pipelines.components.kit import LoopKit, PlotConfig, check_result, picture, result
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.loop.insight import checking
from flywheel_pipelines.loop.insight.following import follow_trends, judge_fixes, keep_library
from flywheel_pipelines.loop.insight.handing_out import hand_out_sheet
from flywheel_pipelines.loop.insight.measuring import measure_learning
from flywheel_pipelines.loop.insight.sorting import sort_tickets
from flywheel_pipelines.loop.recorder import Recorder, Shown
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.report.theme_plots import learning_plot, movers_plot
from flywheel_pipelines.report.themes import movers_of, write_theme_report
from flywheel_pipelines.spec import InsightSpec

Step = Callable[[InsightSpec, Recorder, Sequence[date]], Shown]
Kit = LoopKit[InsightSpec]


class InsightFlywheelComponent(dg.Component):
    """Support tickets sorted into themes that keep their ids, what moves among them, and whether fixes worked.

    Makes the assets `[name, table]` in the group `name`, and the jobs `<name>__open` (sort the tickets of a cycle and
    name what is new), `<name>__close` (library, trends, effects and report, of a cycle or a range in one run) and
    `<name>__catch_up` (both). Opening a cycle needs the library that the cycle before left: the edge at which the loop
    is cut. `automation.py` says what starts them by itself.
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
        """Assets, jobs and sensors of this flywheel."""
        kit = Kit(self.spec)
        opening, closing = [_ticket_themes(kit)], _closing(kit)
        both = "Open and close; a backfill over a range of the past goes in order."
        jobs = {
            "open": kit.job("open", "Sort a cycle's tickets into themes; name what is new.", opening),
            "close": kit.job("close", "Library, trends, effects of fixes and report, of a cycle or a range.", closing),
            "catch_up": kit.job("catch_up", both, [*opening, *closing]),
        }
        return dg.Definitions(
            assets=dg.with_source_code_references([*opening, *closing]),
            jobs=list(jobs.values()),
            sensors=insight_automation(kit, jobs),
        )


def _closing(kit: Kit) -> list[dg.AssetsDefinition]:
    library = _step(kit, tables.THEME_LIBRARY, tables.TICKET_THEMES, keep_library, also=[tables.THEME_EVENTS])
    trends = _step(kit, tables.THEME_TRENDS, tables.THEME_LIBRARY, follow_trends)
    effects = _step(kit, tables.FIX_EFFECTS, tables.THEME_TRENDS, judge_fixes)
    return [library, trends, effects, _theme_learning(kit), _theme_report(kit)]


def _ticket_themes(kit: Kit) -> dg.AssetsDefinition:
    key = kit.key(tables.TICKET_THEMES)
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

    @kit.asset(
        tables.TICKET_THEMES, many_cycles_per_run=False, also_writes=[tables.THEME_CANDIDATES], check_specs=checks
    )
    def ticket_themes(context: dg.AssetExecutionContext, lake: LakeResource, llm: LlmResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            cycles = kit.cycles(context)
            shown = sort_tickets(kit.spec, recorder, cycles, llm.writers())
            found = {
                name: [one for cycle in cycles for one in look(kit.spec, recorder.store, cycle)]
                for name, look in (
                    ("no_personal_data", checking.personal_data_left),
                    ("quotes_verbatim", checking.quotes_not_verbatim),
                )
            }
            return result(recorder, shown, [_nothing(name, wrong) for name, wrong in found.items()])

    return ticket_themes


def _step(
    kit: Kit, table: TableContract, after: TableContract, step: Step, also: Sequence[TableContract] = ()
) -> dg.AssetsDefinition:
    @kit.asset(table, deps=[after], many_cycles_per_run=True, also_writes=also)
    def closes(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            return result(recorder, step(kit.spec, recorder, kit.cycles(context)))

    return closes


def _theme_learning(kit: Kit) -> dg.AssetsDefinition:
    key = kit.key(tables.THEME_LEARNING)
    inspections = {
        "library_pays": (checking.library_pays, "The last cycles took fewer tokens than without a library."),
        "themes_accepted": (checking.themes_accepted, "People accepted at least half of the last cycles' new themes."),
    }
    specs = [dg.AssetCheckSpec(name, asset=key, description=words) for name, (_, words) in inspections.items()]

    @kit.asset(
        tables.THEME_LEARNING,
        deps=[tables.FIX_EFFECTS],
        many_cycles_per_run=True,
        check_specs=specs,
        has_deadline=True,
    )
    def theme_learning(
        context: dg.AssetExecutionContext, config: PlotConfig, lake: LakeResource
    ) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            cycles = kit.cycles(context)
            shown = measure_learning(kit.spec, recorder, cycles)
            if config.plot:
                learned = recorder.store.read(tables.THEME_LEARNING, kit.spec.name).to_pylist()
                plot = learning_plot([row for row in learned if row["cycle"] <= cycles[-1]])
                shown |= {"learning_plot": picture("learning", plot)} if plot else {}
            found = [
                check_result(name, look(kit.spec, recorder.store, cycles[-1]))
                for name, (look, _) in inspections.items()
            ]
            return result(recorder, shown, found)

    return theme_learning


def _theme_report(kit: Kit) -> dg.AssetsDefinition:
    words = "What customers said in the cycle, as a page for people."

    @kit.page("theme_report", words, layer="learning", deps=[tables.THEME_LEARNING])
    def theme_report(context: dg.AssetExecutionContext, config: PlotConfig, lake: LakeResource) -> dg.MaterializeResult:
        paths, store, page, markdown, sheet = DataPaths.from_environment(), lake.open(), Path(), Path(), None
        cycles = kit.cycles(context)
        for cycle in cycles:
            page, markdown = write_theme_report(kit.spec, store, cycle, paths.reports)
            sheet = hand_out_sheet(kit.spec, store, cycle, paths.root / "reviews")
        shown: dict[str, Any] = {
            "page": dg.MetadataValue.url(page.resolve().as_uri()),
            # A browser may refuse to follow a link from a page of the UI to a file, so the path stands there, too.
            "page_file": dg.MetadataValue.path(page),
            "review_sheet": str(sheet or "nothing waits for a review"),
        }
        if config.plot and (plot := movers_plot(movers_of(store, kit.spec.name, cycles[-1]))):
            shown["where_the_pain_is_moving"] = picture("movers", plot)
        shown["report"] = dg.MetadataValue.md(markdown.read_text(encoding="utf-8"))
        return dg.MaterializeResult(metadata=shown)

    return theme_report


def _nothing(name: str, wrong: Sequence[str]) -> dg.AssetCheckResult:
    """A check that nothing of a kind was found."""
    words = "; ".join(wrong[:3]) if wrong else "Nothing found."
    return dg.AssetCheckResult(check_name=name, passed=not wrong, description=words, metadata={"found": len(wrong)})
