"""The check of `reference_corpus`: the loop does not feed on itself. Blocking, so that it stops the prompt refresh.

It belongs to the asset's own step, as those of the feeds do (`feed_checks`), and judges the newest cycle of the run:
the prompts of the earlier ones went out long ago. What is past a limit for too short a time, or past one that only
warns, is a failed check of severity WARN: yellow, and it blocks nothing.

Wiring only: the signs and the verdict are in `learning.collapse`, the step in `loop.choosing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import dagster as dg

from flywheel_pipelines.components.kit import AssetKit
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.choosing import check_collapse

NAME = "no_collapse"


def corpus_check_specs(kit: AssetKit) -> list[dg.AssetCheckSpec]:
    """The one check."""
    return [
        dg.AssetCheckSpec(
            NAME,
            asset=kit.key(tables.REFERENCE_CORPUS),
            blocking=True,
            description="Texts do not become alike, and people have their part in the references, within the limits of "
            "the YAML's `collapse`; past one of them the prompt is not refreshed.",
        )
    ]


def corpus_check_results(kit: AssetKit, store: Lake, cycles: Sequence[date]) -> list[dg.AssetCheckResult]:
    """The verdict on the newest of some cycles, as the UI shows it."""
    cycle, verdict = check_collapse(kit.flywheel, store, cycles)
    return [
        dg.AssetCheckResult(
            check_name=NAME,
            passed=not (verdict.stops or verdict.warns),
            severity=dg.AssetCheckSeverity.ERROR if verdict.stops else dg.AssetCheckSeverity.WARN,
            description=f"Cycle {cycle}: {verdict.words}",
            metadata={"stops": list(verdict.stops), "warns": list(verdict.warns)},
        )
    ]
