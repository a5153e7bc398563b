"""The assets that open a cycle: briefs -> cycle_manifest -> generated_outputs -> published_outputs.

Wiring only: each reads, calls a pure function of `production` (or `learning`), writes, and shows what it did.
"""

from datetime import UTC, date, datetime

import dagster as dg
import numpy as np
import pyarrow as pa

from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.errors import CycleOrderError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.model_tables import model_from_tables
from flywheel_pipelines.learning.prompt import refresh_prompt
from flywheel_pipelines.learning.thresholds import register_threshold
from flywheel_pipelines.production.archive import outputs_from_archive
from flywheel_pipelines.production.arms import publish
from flywheel_pipelines.production.briefs import briefs_from_candidates, latest_candidates
from flywheel_pipelines.production.manifest import NOTHING_LEARNED, CarriedIn, build_manifest, choose_predecessor
from flywheel_pipelines.spec import FlywheelSpec, parse_spec


class OpenConfig(dg.Config):
    """Run config of opening a cycle."""

    allow_gap: bool = False
    """Open although the cycle before was never closed; carries the latest closed cycle in and records the gap."""
    repin: bool = False
    """Produce a published cycle again with what has been learned since. Its outputs are replaced."""
    recorded_at: str | None = None
    """Instant (ISO, UTC) with which a newly registered floor is recorded; replays set it. None: now."""
    publish: str | None = None
    """all or choice, instead of what the YAML says, for this cycle."""
    is_synthetic: bool = False
    """Declares that the cycle runs on synthetic or simulated data."""

    def applied_to(self, spec: FlywheelSpec) -> FlywheelSpec:
        """The spec that the cycle is opened with; checked again, since a combination can be impossible."""
        changed = spec.model_dump(mode="json")
        if self.publish is not None:
            changed["producer"]["publish"] = self.publish
        changed["is_synthetic"] = spec.is_synthetic or self.is_synthetic
        return parse_spec(changed, "run config of cycle_manifest")

    def now(self) -> datetime:
        """The instant to record."""
        return datetime.fromisoformat(self.recorded_at) if self.recorded_at else datetime.now(UTC)


def production_assets(kit: AssetKit) -> list[dg.AssetsDefinition]:
    """The four assets of layer 1."""
    return [_briefs(kit), _cycle_manifest(kit), _generated_outputs(kit), _published_outputs(kit)]


def _briefs(kit: AssetKit) -> dg.AssetsDefinition:
    spec = kit.spec

    @kit.asset(tables.BRIEFS, many_cycles_per_run=False)
    def briefs(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            for cycle in kit.cycles(context):
                candidates = latest_candidates(store.read(tables.ARCHIVE_CANDIDATES, spec.name, cycle))
                read = [(tables.ARCHIVE_CANDIDATES, cycle)]
                recorder.write(tables.BRIEFS, briefs_from_candidates(candidates), cycle, read)
            return recorder.result()

    return briefs


def _cycle_manifest(kit: AssetKit) -> dg.AssetsDefinition:
    spec = kit.spec

    @kit.asset(tables.CYCLE_MANIFEST, deps=[tables.BRIEFS], many_cycles_per_run=False)
    def cycle_manifest(
        context: dg.AssetExecutionContext, config: OpenConfig, lake: LakeResource
    ) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            for cycle in kit.cycles(context):
                if store.has(tables.PUBLISHED_OUTPUTS, spec.name, cycle) and not config.repin:
                    # Published history is not recomputed: what went out went out with these versions.
                    manifest = store.read(tables.CYCLE_MANIFEST, spec.name, cycle).drop_columns(["cycle"])
                else:
                    manifest = _open(kit, store, cycle, config)
                recorder.write(tables.CYCLE_MANIFEST, manifest, cycle, _manifest_inputs(manifest, cycle))
            return recorder.result({"carried_in": dg.MetadataValue.json(_plain(manifest.to_pylist()[0]))})

    return cycle_manifest


def _generated_outputs(kit: AssetKit) -> dg.AssetsDefinition:
    spec = kit.spec

    @kit.asset(tables.GENERATED_OUTPUTS, deps=[tables.BRIEFS, tables.CYCLE_MANIFEST], many_cycles_per_run=False)
    def generated_outputs(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            for cycle in kit.cycles(context):
                manifest = store.read(tables.CYCLE_MANIFEST, spec.name, cycle).to_pylist()[0]
                candidates = latest_candidates(store.read(tables.ARCHIVE_CANDIDATES, spec.name, cycle))
                predicted = _predict(store, spec.name, manifest, candidates)
                outputs = outputs_from_archive(
                    candidates,
                    predicted,
                    flywheel=spec.name,
                    cycle=cycle,
                    prompt_version=manifest["prompt_version"],
                    reference_ids=[],
                )
                read = [(tables.CYCLE_MANIFEST, cycle), (tables.ARCHIVE_CANDIDATES, cycle)]
                recorder.write(tables.GENERATED_OUTPUTS, outputs, cycle, read)
            return recorder.result()

    return generated_outputs


def _published_outputs(kit: AssetKit) -> dg.AssetsDefinition:
    spec = kit.spec

    @kit.asset(
        tables.PUBLISHED_OUTPUTS, deps=[tables.GENERATED_OUTPUTS, tables.CYCLE_MANIFEST], many_cycles_per_run=False
    )
    def published_outputs(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(context, lake) as (store, recorder):
            per_arm: dict[str, int] = {}
            for cycle in kit.cycles(context):
                generated = store.read(tables.GENERATED_OUTPUTS, spec.name, cycle)
                # The settings the cycle was opened with, not today's: what was decided is repeated, not revised.
                settings = store.read(tables.CYCLE_MANIFEST, spec.name, cycle).column("settings")[0].as_py()
                opened_with = FlywheelSpec.model_validate_json(settings)
                published = publish(
                    generated,
                    opened_with.arms,
                    publish_all=opened_with.producer.publish == "all",
                    flywheel=spec.name,
                    cycle=cycle,
                )
                read = [(tables.GENERATED_OUTPUTS, cycle), (tables.CYCLE_MANIFEST, cycle)]
                recorder.write(tables.PUBLISHED_OUTPUTS, published, cycle, read)
                for arm in published.column("arm").to_pylist():
                    per_arm[arm] = per_arm.get(arm, 0) + 1
            return recorder.result({f"published_{arm}": count for arm, count in sorted(per_arm.items())})

    return published_outputs


def _open(kit: AssetKit, store: Lake, cycle: date, config: OpenConfig) -> pa.Table:
    """Register the floor and pin what the last closed cycle hands over."""
    spec = config.applied_to(kit.spec)
    carried = _carried_in(kit, store, cycle, allow_gap=config.allow_gap)
    threshold = register_threshold(spec.floor, spec.metric.better, cycle, config.now())
    store.append_batch(spec.name, threshold.header, {tables.THRESHOLDS: threshold.rows})
    gap = carried.predecessor is not None and carried.predecessor != kit.previous(cycle)
    return build_manifest(carried, spec, threshold_version=threshold.version, gap_allowed=gap)


def _carried_in(kit: AssetKit, store: Lake, cycle: date, *, allow_gap: bool) -> CarriedIn:
    """The versions that the last closed cycle hands over; the baseline in the first cycle."""
    name = kit.spec.name
    predecessor = choose_predecessor(
        cycle,
        kit.previous(cycle),
        opened=store.cycles(tables.CYCLE_MANIFEST, name),
        closed=store.cycles(tables.MOMENTUM, name),
        allow_gap=allow_gap,
    )
    if predecessor is None:
        baseline = refresh_prompt(
            kit.prompt_template(), tables.REFERENCE_CORPUS.empty(), flywheel=name, metric=kit.spec.floor.metric
        )
        return CarriedIn(None, baseline.column("prompt_version")[0].as_py(), NOTHING_LEARNED, NOTHING_LEARNED, None)
    prompt = store.read(tables.REFRESHED_PROMPT, name, predecessor).to_pylist()[0]
    model = store.read(tables.SCORING_MODEL, name, predecessor, columns=["model_version", "known_at"]).to_pylist()[0]
    return CarriedIn(
        predecessor=predecessor,
        prompt_version=prompt["prompt_version"],
        corpus_version=prompt["corpus_version"],
        scoring_model_version=model["model_version"],
        knowledge_cutoff=model["known_at"],
    )


def _manifest_inputs(manifest: pa.Table, cycle: date) -> list[tuple[tables.TableContract, date]]:
    predecessor = manifest.column("predecessor")[0].as_py()
    learned = (tables.SCORING_MODEL, tables.REFERENCE_CORPUS, tables.REFRESHED_PROMPT)
    return [(tables.BRIEFS, cycle), *((table, predecessor) for table in learned if predecessor)]


def _predict(store: Lake, flywheel: str, manifest: dict[str, object], candidates: pa.Table) -> np.ndarray:
    """Predictions of the pinned scoring model; zeros while there is none."""
    pinned, predecessor = manifest["scoring_model_version"], manifest["predecessor"]
    if pinned == NOTHING_LEARNED or not isinstance(predecessor, date):
        return np.zeros(candidates.num_rows)
    row = store.read(tables.SCORING_MODEL, flywheel, predecessor).to_pylist()[0]
    if row["model_version"] != pinned:
        raise CycleOrderError(
            f"Cycle {manifest['cycle']} pinned scoring model {pinned}, but cycle {predecessor} has been closed again "
            f"since and now holds {row['model_version']}. What was published stays as it was. To produce the cycle "
            "anew with the present learning, rerun from cycle_manifest on with the run config repin: true."
        )
    model = model_from_tables(row, store.read(tables.SCORING_MODEL_TERMS, flywheel, predecessor))
    return model.predict(candidates.column("text").to_pylist(), candidates.column("segment").to_pylist())


def _plain(row: dict[str, object]) -> dict[str, object]:
    return {
        key: value if isinstance(value, str | int | float | bool | None) else str(value) for key, value in row.items()
    }
