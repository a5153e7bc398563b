"""What a cycle is produced with.

Here: the manifest row, and the rule that a cycle opens only on top of a closed one. Not here: reading the versions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from flywheel_pipelines.errors import CycleOrderError
from flywheel_pipelines.lake.tables import CYCLE_MANIFEST
from flywheel_pipelines.spec import FlywheelSpec, LlmProducer

NOTHING_LEARNED = "none"
"""Version of a corpus or model that does not exist yet: the first cycle starts from the baseline."""


@dataclass(frozen=True)
class CarriedIn:
    """The versions that the close of one cycle hands to the next."""

    predecessor: date | None
    prompt_version: str
    corpus_version: str
    scoring_model_version: str
    knowledge_cutoff: datetime | None


def build_manifest(
    carried: CarriedIn,
    spec: FlywheelSpec,
    *,
    threshold_version: str,
    gap_allowed: bool,
    control_prompt_version: str,
    challenger_prompt_version: str | None = None,
    ablation_prompt_versions: Mapping[str, str] | None = None,
    output_schema: Mapping[str, Any] | None = None,
    attempt: int = 1,
) -> pa.Table:
    """The one manifest row of a cycle (contract `cycle_manifest`).

    Args:
        carried: what the close of the cycle before hands over.
        spec: the settings the cycle is opened with.
        threshold_version: version of the quality floor.
        gap_allowed: whether someone opened the cycle although its predecessor was never closed.
        control_prompt_version: version of the treadmill's prompt.
        challenger_prompt_version: version of the prompt on trial; None without one.
        ablation_prompt_versions: versions of the prompts without references and without guidelines, by arm.
        output_schema: JSON Schema of an output; None for plain text. Its keys keep their order: texts are read in it.
        attempt: how often the cycle's outputs were produced on purpose, from 1.
    """
    row = {
        **asdict(carried),
        "control_prompt_version": control_prompt_version,
        "challenger_prompt_version": challenger_prompt_version,
        **{f"{arm}_prompt_version": version for arm, version in (ablation_prompt_versions or {}).items()},
        "model": spec.producer.model if isinstance(spec.producer, LlmProducer) else None,
        "output_schema": json.dumps(output_schema, ensure_ascii=False) if output_schema is not None else None,
        "attempt": attempt,
        "threshold_version": threshold_version,
        "config_hash": spec.config_hash,
        "settings": spec.model_dump_json(),
        "is_synthetic": spec.is_synthetic,
        "gap_allowed": gap_allowed,
    }
    return pa.Table.from_pylist([row], schema=CYCLE_MANIFEST.schema)


def choose_predecessor(
    cycle: date, previous: date, *, opened: list[date], closed: list[date], allow_gap: bool
) -> date | None:
    """The closed cycle to learn from; None for the very first cycle.

    Args:
        cycle: the cycle being opened.
        previous: the cycle right before it in the calendar.
        opened: cycles that were ever opened.
        closed: cycles that were ever closed.
        allow_gap: whether to fall back to the latest closed cycle before a hole.

    Raises:
        CycleOrderError: the cycle before was never closed (or never opened although earlier ones were).
    """
    if previous in closed:
        return previous
    earlier = [known for known in opened if known < cycle]
    if not earlier:
        return None
    if allow_gap:
        return max((known for known in closed if known < cycle), default=None)
    state = "opened but never closed" if previous in earlier else "never opened"
    raise CycleOrderError(
        f"Cycle {cycle} cannot be opened: cycle {previous} was {state}, so there is nothing learned to carry in "
        f"(latest closed: {max(closed, default=None)}). Close {previous} first, or open {cycle} with the run config "
        "allow_gap: true, which carries the latest closed cycle in and records the gap."
    )
