"""The assets that open a cycle: briefs -> cycle_manifest -> generated_outputs -> published_outputs.

Where a model may propose prompts, `proposed_prompt` stands between the first two. Wiring only: each takes the step of
the same name in `loop/` and shows what it did.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from flywheel_pipelines.components.cycle_checks import cycle_check_results, cycle_check_specs
from flywheel_pipelines.components.kit import AssetKit, result
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop import opening
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.loop.proposing import propose_prompts
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.paths import DataPaths


class OpenConfig(dg.Config):
    """Run config of opening a cycle."""

    allow_gap: bool = False
    """Open although the cycle before was never closed; carries the latest closed cycle in and records the gap."""
    repin: bool = False
    """Produce a published cycle again with what has been learned since. Its outputs are superseded."""
    attempt: int | None = None
    """Have a cycle's outputs written again on purpose, as this attempt; the old ones are kept as superseded."""
    recorded_at: str | None = None
    """Instant (ISO, UTC) with which a newly registered floor is recorded; replays set it. None: now."""
    publish: str | None = None
    """all or choice, instead of what the YAML says, for this cycle; for an archive producer."""
    floor: str | None = None
    """off: everything measured is fed back, in this cycle. The control that shows what a floor is good for."""
    is_synthetic: bool = False
    """Declares that the cycle runs on synthetic or simulated data."""
    embeddings: str | None = None
    """none, local or endpoint, instead of what scoring_model.embeddings says, for this cycle."""
    embedding_model: str | None = None
    """With embeddings: endpoint, the model's name as its endpoint knows it."""

    def options(self) -> OpenOptions:
        """The same as the loop's own options."""
        return OpenOptions(
            allow_gap=self.allow_gap,
            repin=self.repin,
            attempt=self.attempt,
            recorded_at=instant(self.recorded_at),
            publish=self.publish,
            floor=self.floor,
            is_synthetic=self.is_synthetic,
            embeddings=self.embeddings,
            embedding_model=self.embedding_model,
        )


class ProduceConfig(dg.Config):
    """Run config of writing and publishing outputs."""

    recorded_at: str | None = None
    """Instant (ISO, UTC) with which requests and exports are recorded; simulations set it. None: now."""


def instant(text: str | None) -> datetime | None:
    """An instant of run config; without an offset it is UTC."""
    if text is None:
        return None
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def production_assets(kit: AssetKit) -> list[dg.AssetsDefinition]:
    """The four assets of layer 1, and `proposed_prompt` where a model may propose prompts.

    With `producer.requests: batch`, `batch_assets.py` adds one between them.
    """
    proposing = [_proposed_prompt(kit)] if kit.flywheel.has_proposals else []
    return [_briefs(kit), *proposing, _cycle_manifest(kit), _generated_outputs(kit), _published_outputs(kit)]


def _briefs(kit: AssetKit) -> dg.AssetsDefinition:
    source = kit.spec.briefs.published_by
    others = [dg.AssetKey([source, tables.PUBLISHED_OUTPUTS.name])] if source else []

    @kit.asset(tables.BRIEFS, after=others, many_cycles_per_run=False)
    def briefs(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            return result(recorder, opening.collect_briefs(kit.flywheel, recorder, kit.cycles(context)))

    return briefs


def _proposed_prompt(kit: AssetKit) -> dg.AssetsDefinition:
    @kit.asset(
        tables.PROPOSED_PROMPT, deps=[tables.BRIEFS], many_cycles_per_run=False, also_writes=[tables.PROMPT_FRAMES]
    )
    def proposed_prompt(
        context: dg.AssetExecutionContext, config: ProduceConfig, lake: LakeResource, llm: LlmResource
    ) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            at = instant(config.recorded_at)
            now = at or datetime.now(UTC)
            return result(recorder, propose_prompts(kit.flywheel, recorder, kit.cycles(context), llm.writers(at), now))

    return proposed_prompt


def _cycle_manifest(kit: AssetKit) -> dg.AssetsDefinition:
    before = tables.PROPOSED_PROMPT if kit.flywheel.has_proposals else tables.BRIEFS

    @kit.asset(
        tables.CYCLE_MANIFEST,
        deps=[before],
        many_cycles_per_run=False,
        check_specs=cycle_check_specs(kit, tables.CYCLE_MANIFEST),
    )
    def cycle_manifest(
        context: dg.AssetExecutionContext, config: OpenConfig, lake: LakeResource, llm: LlmResource
    ) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            cycles, options = kit.cycles(context), config.options()
            shown = opening.pin_manifest(kit.flywheel, recorder, cycles, options, llm.writers())
            return result(recorder, shown, cycle_check_results(kit, tables.CYCLE_MANIFEST, recorder.store, cycles))

    return cycle_manifest


def _generated_outputs(kit: AssetKit) -> dg.AssetsDefinition:
    before = [tables.CYCLE_MANIFEST, *([tables.LLM_BATCHES] if kit.flywheel.uses_batches else [])]

    @kit.asset(
        tables.GENERATED_OUTPUTS,
        deps=before,
        many_cycles_per_run=False,
        check_specs=cycle_check_specs(kit, tables.GENERATED_OUTPUTS),
    )
    def generated_outputs(
        context: dg.AssetExecutionContext, config: ProduceConfig, lake: LakeResource, llm: LlmResource
    ) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            at = instant(config.recorded_at)
            now = at or datetime.now(UTC)
            cycles = kit.cycles(context)
            shown = opening.generate(kit.flywheel, recorder, cycles, llm.writers(at), now=now)
            return result(recorder, shown, cycle_check_results(kit, tables.GENERATED_OUTPUTS, recorder.store, cycles))

    return generated_outputs


def _published_outputs(kit: AssetKit) -> dg.AssetsDefinition:
    @kit.asset(tables.PUBLISHED_OUTPUTS, deps=[tables.GENERATED_OUTPUTS], many_cycles_per_run=False)
    def published_outputs(
        context: dg.AssetExecutionContext, config: ProduceConfig, lake: LakeResource
    ) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            shown: dict[str, object] = dict(
                opening.publish_outputs(
                    kit.flywheel,
                    recorder,
                    kit.cycles(context),
                    outbox=DataPaths.from_environment().outbox,
                    now=instant(config.recorded_at) or datetime.now(UTC),
                )
            )
            return result(recorder, shown | _links(shown, recorder))

    return published_outputs


def _links(shown: Mapping[str, object], recorder: Recorder) -> dict[str, object]:
    """Where what went out lies, to be copied or followed, and the command that tells the story of an output."""
    links: dict[str, object] = {}
    for path in map(Path, shown.get("outbox") or ()):  # type: ignore[arg-type]
        name = f"outbox_{path.suffix.lstrip('.')}"
        links |= {name: dg.MetadataValue.path(path), f"{name}_link": dg.MetadataValue.url(path.resolve().as_uri())}
    if recorder.last is not None and recorder.last.num_rows:
        links["trace"] = f"flywheel trace {recorder.last['output_id'][0].as_py()}"
    return links
