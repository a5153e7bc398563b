"""The warehouse as Dagster assets: one per dbt mart, and the published DuckDB file.

Here: wiring. One op publishes (`lake/publish.py`) and only then reports the marts as materialized, so that the UI never
shows a mart that no analyst can read yet. dbt's own Dagster integration reports each model when it is built, which is
before the audit; that is why it is not used here.
Not here: SQL and its tests (`dbt_project/`), and the steps of a publish.
"""

# No `from __future__ import annotations`: Dagster reads the type of an op's context from the annotation itself.
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import dagster as dg
import yaml
from pydantic import Field

from flywheel_pipelines.components.kit import INSIGHT_LOOP, LOOP, furthest
from flywheel_pipelines.components.mart_lineage import LINEAGE, table_lineage
from flywheel_pipelines.errors import PublishError
from flywheel_pipelines.lake.column_lineage import kept_column_lineage
from flywheel_pipelines.lake.dbt import DBT_PROJECT, NodeOutcome, dbt_manifest
from flywheel_pipelines.lake.dbt_docs import page_of_mart
from flywheel_pipelines.lake.marts import Mart, read_marts
from flywheel_pipelines.lake.publish import AuditError, PublishReport, publish
from flywheel_pipelines.paths import DataPaths

GROUP = "warehouse"
PUBLISHED_FILE = dg.AssetKey([GROUP, "published_file"])
PUBLISH_JOB = "warehouse__publish"
CHECK = "dbt_tests"
FLYWHEEL_TYPE, INSIGHT_TYPE = "FlywheelComponent", "InsightFlywheelComponent"
TABLES_OF_OTHER_ASSETS = {
    "brief_outcomes": "prompt_gate",
    "audit": "momentum",
    "segment_momentum": "momentum",
    "momentum_parts": "momentum",
    "scoring_model_terms": "scoring_model",
    "prompt_versions": "cycle_manifest",
    "prompt_frames": "cycle_manifest",
    "proposed_prompt": "cycle_manifest",
    "llm_requests": "generated_outputs",
    "embedding_requests": "generated_outputs",
    "exports": "published_outputs",
    "reviewed_outputs": "performance_metrics",
    "ruled_outputs": "performance_metrics",
    "ancestry": "reference_corpus",
    "reference_changes": "reference_corpus",
    "collapse_signs": "reference_corpus",
    "restatements": "scored_outputs",
    "guardrail_scores": "scored_outputs",
}
"""Lake tables that are written by the asset of another table; every other table that has an asset gave it its name."""
TABLES_OF_OTHER_INSIGHTS = {
    "theme_candidates": "ticket_themes",
    "llm_requests": "ticket_themes",
    "embedding_requests": "ticket_themes",
    "theme_events": "theme_library",
}
"""The same of insight flywheels."""
TABLES_WITHOUT_ASSET = frozenset(
    {
        "batches", "quarantine", "quarantine_events", "archive_candidates", "brief_ledger", "metric_ledger",
        "metric_replacements", "output_links", "reviews", "corpus_rulings", "tickets", "thresholds", "llm_batches",
        "input_versions", "finetune_jobs", "training_examples", "shipped_fixes",
    }
)  # fmt: skip
"""Ledgers that feeds, sensors and commands append to, and the book of versions: no asset materializes them. The asset
of `training_examples` is there only for flywheels that ask for it, so no mart may wait for it."""


class PublishConfig(dg.Config):
    """What one publish is asked for."""

    full: bool = Field(
        default=False,
        description="Make and test every cycle anew, not only those that the lake has changed since the last publish.",
    )


class WarehouseComponent(dg.Component, dg.Model, dg.Resolvable):
    """The DuckDB file that analysts open: dbt marts over the lake of every flywheel, published only when audited."""

    owners: list[str] = Field(default_factory=list, description="team:<name> or an e-mail address.")
    flywheels: list[str] | None = Field(
        default=None, description="Flywheels whose assets the marts are made from; default: every one below defs/."
    )
    insights: list[str] | None = Field(
        default=None, description="Insight flywheels, likewise; default: every one below defs/."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The marts, the published file with its checks, and the job that publishes."""
        folder = context.defs_module_path
        flywheels = self.flywheels if self.flywheels is not None else find_flywheels(folder)
        insights = self.insights if self.insights is not None else find_flywheels(folder, INSIGHT_TYPE)
        marts = read_marts(dbt_manifest())
        return dg.Definitions(
            assets=[publishing_asset(marts, flywheels, self.owners, insights)],
            jobs=[
                dg.define_asset_job(
                    PUBLISH_JOB,
                    selection=dg.AssetSelection.groups(GROUP),
                    description="Build the DuckDB file from the lake, audit it, and put it in place.",
                )
            ],
        )


def find_flywheels(defs_folder: Path, kind: str = FLYWHEEL_TYPE) -> list[str]:
    """Names of the flywheels of a kind that are declared below a folder of definitions."""
    names = set()
    for path in defs_folder.rglob("defs.yaml"):
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError):
            # For its own component to refuse, with its own words, as a file that is no mapping.
            continue
        for document in documents:
            if isinstance(document, dict) and str(document.get("type", "")).endswith(f".{kind}"):
                names.add((document.get("attributes") or {}).get("name"))
    return sorted(name for name in names if name)


def upstream_assets(mart: Mart, flywheels: Iterable[str], insights: Iterable[str] = ()) -> list[dg.AssetKey]:
    """The assets a mart is made from: those of its lake tables, for every flywheel, and the marts it reads.

    Assets that another of them implies are left out, as in the loop itself: with an arrow from nearly every table to
    every mart nobody sees the loop any more. The staging models say which tables a mart reads.
    """
    tables = mart.lake_tables - TABLES_WITHOUT_ASSET
    keys = [
        dg.AssetKey([name, asset])
        for names, loop, others in (
            (flywheels, LOOP, TABLES_OF_OTHER_ASSETS),
            (insights, INSIGHT_LOOP, TABLES_OF_OTHER_INSIGHTS),
        )
        for name in sorted(names)
        for asset in furthest({others.get(table, table) for table in tables} & loop.keys(), loop)
    ]
    return [*keys, *(dg.AssetKey([GROUP, name]) for name in sorted(mart.marts))]


def publishing_asset(
    marts: Sequence[Mart], flywheels: Iterable[str], owners: Sequence[str], insights: Iterable[str] = ()
) -> dg.AssetsDefinition:
    """Every mart and the published file, materialized together by one publish."""
    flywheels, insights = list(flywheels), list(insights)
    specs = [_mart_spec(mart, upstream_assets(mart, flywheels, insights), owners) for mart in marts]
    published = dg.AssetSpec(
        PUBLISHED_FILE,
        deps=[spec.key for spec in specs],
        description="The DuckDB file that analysts open. It is replaced whole, and only after every dbt test passed on "
        "the new one; whoever has the old one open keeps reading it.",
        group_name=GROUP,
        kinds={"duckdb"},
        tags={"layer": GROUP},
        owners=list(owners),
    )
    check_specs = [
        dg.AssetCheckSpec(CHECK, asset=spec.key, description=f"dbt's tests on {spec.key.path[-1]}.") for spec in specs
    ]
    check_specs.append(
        dg.AssetCheckSpec(CHECK, asset=PUBLISHED_FILE, description="Every dbt model built and every dbt test passed.")
    )

    @dg.multi_asset(name="write_audit_publish", specs=[*specs, published], check_specs=check_specs)
    def write_audit_publish(
        context: dg.AssetExecutionContext, config: PublishConfig
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        try:
            report = publish(DataPaths.from_environment(), full=config.full)
        except AuditError as error:
            for spec in [*specs, published]:
                yield check_result(spec.key, error.outcomes)
            raise dg.Failure(str(error), allow_retries=False) from error
        except PublishError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for warning in report.warnings:
            context.log.warning(warning.explain())
        lineage = kept_column_lineage(dbt_manifest(), DBT_PROJECT / "target")
        names = dict.fromkeys(LOOP, flywheels) | dict.fromkeys(INSIGHT_LOOP, insights)
        for spec in specs:
            name = spec.key.path[-1]
            yield dg.MaterializeResult(
                asset_key=spec.key,
                metadata={
                    "dagster/row_count": report.mart_rows[name],
                    LINEAGE: table_lineage(lineage[name], GROUP, names),
                    "dbt_docs": dg.MetadataValue.url(page_of_mart(report.docs, name)),
                },
                check_results=[check_result(spec.key, report.outcomes)],
            )
        yield dg.MaterializeResult(
            asset_key=PUBLISHED_FILE,
            metadata=_describe(report),
            check_results=[check_result(PUBLISHED_FILE, report.outcomes)],
        )

    return write_audit_publish


def check_result(key: dg.AssetKey, outcomes: Sequence[NodeOutcome]) -> dg.AssetCheckResult:
    """The outcomes of dbt as the check of one mart, or of the whole file: red on a failure, yellow on a warning."""
    name = key.path[-1]
    about = [
        outcome
        for outcome in outcomes
        if key == PUBLISHED_FILE or name == outcome.name or name in outcome.tested_models
    ]
    objections = [outcome for outcome in about if outcome.status != "pass"]
    only_warnings = all(outcome.is_good for outcome in objections)
    metadata: dict[str, dg.MetadataValue] = {"checked": dg.MetadataValue.int(len(about))}
    if objections:
        text = "\n\n".join(outcome.explain() for outcome in objections if outcome.status != "skipped")
        skipped = sum(outcome.status == "skipped" for outcome in objections)
        metadata["failing"] = dg.MetadataValue.json([o.name for o in objections if o.status != "skipped"])
        metadata["skipped"] = dg.MetadataValue.int(skipped)
        metadata["objections"] = dg.MetadataValue.text(text or "Skipped, because something it depends on failed.")
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=CHECK,
        passed=not objections,
        severity=dg.AssetCheckSeverity.WARN if only_warnings else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


def _mart_spec(mart: Mart, deps: Sequence[dg.AssetKey], owners: Sequence[str]) -> dg.AssetSpec:
    columns = [
        dg.TableColumn(name, kind or "?", description=description) for name, (kind, description) in mart.columns.items()
    ]
    return dg.AssetSpec(
        dg.AssetKey([GROUP, mart.name]),
        deps=deps,
        description=mart.description,
        metadata={
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "dagster/table_name": f"flywheel.main.{mart.name}",
        },
        group_name=GROUP,
        kinds={"dbt", "duckdb"},
        tags={"layer": GROUP},
        owners=list(owners),
    )


def _describe(report: PublishReport) -> dict[str, dg.MetadataValue]:
    table = "\n".join(f"| {mart} | {rows:,} |" for mart, rows in sorted(report.mart_rows.items()))
    return {
        "path": dg.MetadataValue.path(report.path),
        "size": dg.MetadataValue.text(f"{report.n_bytes / 1e6:,.1f} MB"),
        "n_bytes": dg.MetadataValue.int(report.n_bytes),
        "rows": dg.MetadataValue.md(f"| mart | rows |\n|---|---:|\n{table}"),
        "warnings": dg.MetadataValue.int(len(report.warnings)),
        "seconds": dg.MetadataValue.float(round(report.seconds, 1)),
        "cycles_made_anew": dg.MetadataValue.text("all" if report.n_cycles is None else f"{report.n_cycles:,}"),
        "dbt_docs": dg.MetadataValue.url(report.docs.as_uri()),
    }
