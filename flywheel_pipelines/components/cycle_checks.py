"""The checks between the steps of a cycle, besides those of the feeds and of the corpus. Wiring only.

| asset | check | red stops |
|---|---|---|
| `cycle_manifest` | `manifest_complete` | writing, and all that follows |
| `generated_outputs` | `control_arm_present` | publishing |
| `generated_outputs` | `budget_kept` | nothing: the money is spent |
| `performance_metrics` | `floor_registered_before_capture` | the whole close, before it writes anything |
| `refreshed_prompt` | `prompt_within_budget` | momentum, so that the next cycle does not open |
| `momentum` | `lift_not_below_zero` | nothing: it only warns |

They belong to the step of their asset, as those of the feeds do (`feed_checks`), and judge the newest cycle of a run,
but for the floor, which is asked of every cycle. The inspections are in `loop.inspecting`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg

from flywheel_pipelines.components.kit import AssetKit, check_result
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop import inspecting
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.inspecting import Finding


@dataclass(frozen=True)
class CycleCheck:
    """One check: its name and asset, what is inspected, and whether a red one stops what follows."""

    name: str
    table: TableContract
    inspect: Callable[[Flywheel, Lake, Sequence[date]], Finding]
    blocking: bool
    description: str


def _newest(inspect: Callable[[Flywheel, Lake, date], Finding]) -> Callable[[Flywheel, Lake, Sequence[date]], Finding]:
    return lambda flywheel, store, cycles: inspect(flywheel, store, max(cycles))


CYCLE_CHECKS = (
    CycleCheck(
        "manifest_complete",
        tables.CYCLE_MANIFEST,
        _newest(inspecting.manifest_complete),
        blocking=True,
        description="Prompts, floor, model and predecessor that the manifest pins are on record.",
    ),
    CycleCheck(
        "control_arm_present",
        tables.GENERATED_OUTPUTS,
        _newest(inspecting.control_arm),
        blocking=True,
        description="The treadmill answers some briefs of the cycle, so that its lift can be known.",
    ),
    CycleCheck(
        "budget_kept",
        tables.GENERATED_OUTPUTS,
        _newest(inspecting.budget_kept),
        blocking=False,
        description="What the answers of the cycle have cost is within producer.max_cost_per_cycle.",
    ),
    CycleCheck(
        "floor_registered_before_capture",
        tables.PERFORMANCE_METRICS,
        inspecting.floor_registered,
        blocking=True,
        description="The floor of each cycle was on record before its first measurement.",
    ),
    CycleCheck(
        "prompt_within_budget",
        tables.REFRESHED_PROMPT,
        _newest(inspecting.prompt_within_budget),
        blocking=True,
        description="The prompt of the next cycle fits producer.max_prompt_tokens, with its references.",
    ),
    CycleCheck(
        "lift_not_below_zero",
        tables.MOMENTUM,
        _newest(inspecting.lift_not_negative),
        blocking=False,
        description="Not each of the last schedule.losing_cycles cycles did worse than its control arm.",
    ),
)


def cycle_check_specs(kit: AssetKit, table: TableContract) -> list[dg.AssetCheckSpec]:
    """The checks of one asset."""
    return [
        dg.AssetCheckSpec(one.name, asset=kit.key(table), blocking=one.blocking, description=one.description)
        for one in CYCLE_CHECKS
        if one.table is table
    ]


def cycle_check_results(
    kit: AssetKit, table: TableContract, store: Lake, cycles: Sequence[date]
) -> list[dg.AssetCheckResult]:
    """What the checks of one asset find about the cycles of a run, as the UI shows it."""
    return [
        check_result(one.name, one.inspect(kit.flywheel, store, cycles)) for one in CYCLE_CHECKS if one.table is table
    ]
