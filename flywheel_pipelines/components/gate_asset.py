"""The gate as an asset: outcomes per brief, the frames in play, what was decided, and a picture. Wiring only."""

import dagster as dg

from flywheel_pipelines.components.kit import AssetKit, picture, result
from flywheel_pipelines.components.resources import LakeResource
from flywheel_pipelines.lake import tables
from flywheel_pipelines.learning.gate_plot import gate_plot
from flywheel_pipelines.loop import gating

PLOTTED = 52
"""Cycles in the picture."""


def gate_asset(kit: AssetKit) -> dg.AssetsDefinition:
    """The asset that fills `brief_outcomes` and `prompt_gate`."""

    @kit.asset(
        tables.PROMPT_GATE,
        deps=[tables.PERFORMANCE_METRICS],
        many_cycles_per_run=True,
        also_writes=[tables.BRIEF_OUTCOMES],
    )
    def prompt_gate(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        with kit.step(lake) as recorder:
            cycles = kit.cycles(context)
            gating.compare(kit.flywheel, recorder, cycles)
            shown: dict[str, object] = dict(gating.gate(kit.flywheel, recorder, cycles))
            seen = kit.flywheel.window(cycles[-1], PLOTTED)
            plot = gate_plot(recorder.store.read(tables.PROMPT_GATE, kit.spec.name, seen))
            if plot is not None:
                shown["gate_plot"] = picture("gate", plot)
            return result(recorder, shown)

    return prompt_gate
