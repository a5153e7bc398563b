"""Which requests a cycle needs: every brief, its arm's prompt, and as many candidates as the arm gets.

Here: the list of requests, before anything is sent. Not here: filling in a prompt (`rendering`), arms (`arms`), sending
(`llm`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from flywheel_pipelines.chat import ChatRequest
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.production.arms import ARMS, CONTROL, FLYWHEEL, NO_SELECTION, arms_of
from flywheel_pipelines.production.rendering import RenderedPrompt, estimated_tokens, messages_for
from flywheel_pipelines.prompt_text import Reference
from flywheel_pipelines.spec import ABLATIONS, ArmsSpec, LlmProducer


@dataclass(frozen=True)
class PromptInUse:
    """The prompt of one arm as the manifest pinned it: its version, its frame, and all references it may show."""

    version: str
    frame: str
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class PlannedRequest:
    """A request, and what its output's row will say beside the answer."""

    request: ChatRequest
    segment: str
    locale: str | None
    reference_ids: tuple[str, ...]
    n_dropped: int


def plan_requests(
    briefs: pa.Table,
    manifest: Mapping[str, Any],
    prompts: Mapping[str, PromptInUse],
    producer: LlmProducer,
    arms: ArmsSpec,
    *,
    flywheel: str,
    cycle: date,
) -> list[PlannedRequest]:
    """Every request of one attempt at a cycle.

    The control arm gets the baseline prompt, without references, and one candidate per brief: the treadmill; or, where
    it is to fit all segments, what the flywheel gets, with the best references of all segments together. The other
    arms get `variants` candidates; ablation arms as many as the flywheel would, since only one thing is switched off.
    The same arguments give the same requests with the same keys.

    Args:
        briefs: rows of `briefs`, in any order.
        manifest: the cycle's row of `cycle_manifest`: model, output_schema and attempt are taken from it.
        prompts: the prompt of each arm that the cycle has.
        producer: the settings the cycle was opened with.
        arms: the arms it was opened with.
        flywheel: name of the flywheel.
        cycle: the cycle.

    Returns:
        Sorted by arm, segment, brief and variant: requests that begin alike stand together, for the prompt cache.

    Raises:
        FlywheelError: an arm has briefs but no prompt, or the manifest names no model.
        PromptTooLongError: a brief does not fit the prompt budget.
    """
    shared = _shared_by_all(manifest, producer, cycle)
    planned: list[PlannedRequest] = []
    for brief in sorted(briefs.to_pylist(), key=lambda row: (row["segment"], row["brief_id"])):
        for arm in arms_of(brief["brief_id"], arms, flywheel=flywheel, cycle=cycle):
            is_pooled = arm == CONTROL and arms.pools_segments
            prompt = _prompt_of(FLYWHEEL if is_pooled else arm, prompts, cycle)
            rendered = _rendered(prompt, arm, brief, producer, is_pooled=is_pooled)
            shown = tuple(reference.reference_id for reference in rendered.shown)
            counted = rendered
            if arm in ABLATIONS:
                counted = _rendered(_prompt_of(FLYWHEEL, prompts, cycle), FLYWHEEL, brief, producer)
            for variant in range(1 if arm == CONTROL and not is_pooled else n_variants(counted, producer)):
                request = ChatRequest(
                    flywheel=flywheel,
                    cycle=cycle,
                    brief_id=brief["brief_id"],
                    arm=arm,
                    variant=variant,
                    prompt_version=prompt.version,
                    messages=rendered.messages,
                    **shared,
                )
                planned.append(PlannedRequest(request, brief["segment"], brief["locale"], shown, rendered.n_dropped))
    return sorted(planned, key=lambda plan: ARMS.index(plan.request.arm))


def _rendered(
    prompt: PromptInUse, arm: str, brief: Mapping[str, Any], producer: LlmProducer, *, is_pooled: bool = False
) -> RenderedPrompt:
    references = () if arm == CONTROL and not is_pooled else prompt.references
    return messages_for(
        prompt.frame, references, brief, max_prompt_tokens=producer.max_prompt_tokens, is_pooled=is_pooled
    )


def n_variants(rendered: RenderedPrompt, producer: LlmProducer) -> int:
    """Candidates for one brief: `variants`, or fewer where the prompt is long and the effort per brief is bounded."""
    if producer.max_prompt_tokens_per_brief is None:
        return producer.variants
    tokens = sum(estimated_tokens(message.content) for message in rendered.messages)
    return max(1, min(producer.variants, producer.max_prompt_tokens_per_brief // tokens))


def _shared_by_all(manifest: Mapping[str, Any], producer: LlmProducer, cycle: date) -> dict[str, Any]:
    """What every request of the cycle has in common, from its manifest and settings."""
    if not manifest["model"]:
        raise FlywheelError(
            f"The manifest of cycle {cycle} names no language model, so nothing can be written. Open the cycle with "
            "producer: {kind: llm, model: ...}."
        )
    return {
        "attempt": manifest["attempt"],
        "model": manifest["model"],
        "schema": json.loads(manifest["output_schema"]) if manifest["output_schema"] else None,
        "parameters": producer.parameters,
        "max_output_tokens": producer.max_output_tokens,
    }


def _prompt_of(arm: str, prompts: Mapping[str, PromptInUse], cycle: date) -> PromptInUse:
    if arm == NO_SELECTION:
        # Only the choice among its candidates differs.
        return _prompt_of(FLYWHEEL, prompts, cycle)
    if arm not in prompts:
        raise FlywheelError(
            f"Cycle {cycle} assigns briefs to the arm {arm}, but has no prompt for it (prompts: "
            f"{', '.join(sorted(prompts)) or 'none'}). Open the cycle again so that its manifest pins one."
        )
    return prompts[arm]
