"""Having outputs written by a language model: plan, ask, check, rank.

Here: the order of these steps for one cycle, and which endpoint is asked. Not here: the steps (`production`, `llm`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from flywheel_pipelines.chat import ChatRequest, Failure
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.asking import AskReport, answer_requests
from flywheel_pipelines.llm.budget import BudgetError
from flywheel_pipelines.llm.embedding import Embedded, EmbeddingSettings, ask_for_embeddings
from flywheel_pipelines.llm.embedding_local import embed_locally
from flywheel_pipelines.llm.ledger import experience_of, known_answers
from flywheel_pipelines.llm.offline.declared import declared_grammar
from flywheel_pipelines.llm.offline.grammars import PARAMETER, make_known
from flywheel_pipelines.llm.provider import Provider, provider_from_environment
from flywheel_pipelines.llm.settings import AskSettings
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Recorder, Shown
from flywheel_pipelines.production.arms import CONTROL
from flywheel_pipelines.production.guardrails import blocked_reasons, soft_scores
from flywheel_pipelines.production.outputs import judged, outputs_from_answers, ranked, superseded_by
from flywheel_pipelines.production.planning import PlannedRequest, PromptInUse, plan_requests
from flywheel_pipelines.spec import LlmProducer, ScoringModelSpec

OFFLINE_MODEL = "offline-writer"
POOLED = "(all segments)"
"""A segment that no brief has, and the scoring model knows nothing of."""
Predict = Callable[[pa.Table], np.ndarray]
"""Predictions for rows with text and segment."""


class Writers(Protocol):
    """Whoever answers requests."""

    @property
    def is_offline(self) -> bool:
        """Whether what is written now is simulated, because no provider is configured."""
        ...

    def model_of(self, producer: LlmProducer) -> str:
        """The model that a cycle opened now is written by."""
        ...

    def answer(self, requests: Sequence[ChatRequest], producer: LlmProducer, store: Lake) -> AskReport:
        """Answers to all requests; those that were answered before are not asked again."""
        ...

    def embed(self, texts: Sequence[str], spec: ScoringModelSpec) -> Embedded:
        """Sentence embeddings of texts that are not blank, as the scoring model's settings want them."""
        ...


@dataclass(frozen=True)
class ProviderWriters:
    """Asks the provider that is configured, or else the offline writer, and keeps every answer in the lake.

    Attributes:
        provider: where models are asked; None: nowhere but offline.
        journal: folder of the write-ahead logs.
        offline: starts the offline writer, at the first request to it.
        now: instant to record.
    """

    provider: Provider | None
    journal: Path
    offline: Callable[[], Provider]
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    on_progress: Callable[[int, int], None] | None = None

    @property
    def is_offline(self) -> bool:
        """See `Writers`."""
        return self.provider is None

    def model_of(self, producer: LlmProducer) -> str:
        """See `Writers`."""
        return OFFLINE_MODEL if self.provider is None else producer.model

    def provider_of(self, model: str) -> Provider:
        """Where a model is asked. Raises FlywheelError when a real one is pinned and no provider is configured."""
        if model == OFFLINE_MODEL:
            return self.offline()
        if self.provider is None:
            raise FlywheelError(
                f"The cycle is to be written by {model}, but no provider is configured. Set OPENAI_API_KEY (and "
                "OPENAI_BASE_URL for an endpoint of your own), and run this step again; answers that are in the ledger "
                "are not asked for again."
            )
        return self.provider

    def answer(self, requests: Sequence[ChatRequest], producer: LlmProducer, store: Lake) -> AskReport:
        """See `Writers`. With `producer.requests: batch` nothing is asked here: the answers came by batches."""
        if producer.requests == "batch":
            return _answers_of_batches(requests, store)
        return answer_requests(
            requests,
            lake=store,
            journal_folder=self.journal,
            # Looked for only when something is left to be asked: what is in the ledger needs nobody to answer it.
            provider=lambda: self.provider_of(requests[0].model),
            settings=AskSettings.of_producer(producer),
            now=self.now,
            on_progress=self.on_progress,
        )

    def embed(self, texts: Sequence[str], spec: ScoringModelSpec) -> Embedded:
        """See `Writers`."""
        if spec.embeddings == "local":
            return Embedded(embed_locally(texts))
        assert spec.embedding_model is not None
        provider = self.offline() if spec.embedding_model == OFFLINE_MODEL else self.provider
        if provider is None:
            raise FlywheelError(
                f"Texts are to be embedded by {spec.embedding_model}, but no provider is configured. Set "
                "OPENAI_API_KEY (and OPENAI_BASE_URL for an endpoint of your own), and run this step again."
            )
        return ask_for_embeddings(
            texts,
            provider,
            EmbeddingSettings(spec.embedding_model, dimensions=spec.embedding_dimensions, price=spec.embedding_price),
        )


def writers_from_environment(
    environment: Mapping[str, str], journal: Path, recorded_at: datetime | None = None
) -> ProviderWriters:
    """The provider that the environment configures, or the offline writer; `recorded_at` is recorded instead of now."""
    return ProviderWriters(
        provider=provider_from_environment(environment),
        journal=journal,
        offline=offline_provider,
        now=lambda: recorded_at or datetime.now(UTC),
    )


def offline_provider() -> Provider:
    """The offline writer on loopback, started once per process."""
    from flywheel_pipelines.llm.offline.server import shared_server

    return Provider(base_url=shared_server().base_url, api_key="offline", name="offline writer", is_offline=True)


def offline_parameters(flywheel: Flywheel) -> dict[str, float | int | str]:
    """What a request to the offline writer says beside the producer's own parameters: the flywheel's grammar, if any.

    The writer of this process is told of it. Raises SpecError when the grammar cannot be used.
    """
    spec = flywheel.grammar()
    if spec is None:
        return {}
    make_known(declared_grammar(spec))
    return {PARAMETER: spec.version}


def _answers_of_batches(requests: Sequence[ChatRequest], store: Lake) -> AskReport:
    """What batches have answered; a request without an answer was given up by then."""
    report = AskReport()
    if not requests:
        return report
    known = known_answers(store, requests[0].flywheel, requests[0].cycle)
    for request in requests:
        if request.key in known:
            report.answers[request.key] = known[request.key]
        else:
            words = "no batch gave a valid answer; llm_requests says why for each."
            report.failures[request.key] = Failure(request.key, words)
    return replace(report, n_reused=len(report.answers))


def planned(
    flywheel: Flywheel, store: Lake, cycle: date, manifest: Mapping[str, Any], prompts: Mapping[str, PromptInUse]
) -> list[PlannedRequest]:
    """Every request of a cycle, from what its manifest pins."""
    assert flywheel.writer is not None
    if PARAMETER in flywheel.writer.parameters:
        # The manifest pinned it, perhaps in another process.
        offline_parameters(flywheel)
    return plan_requests(
        store.read(tables.BRIEFS, flywheel.name, cycle),
        manifest,
        prompts,
        flywheel.writer,
        flywheel.spec.arms,
        flywheel=flywheel.name,
        cycle=cycle,
    )


def write_outputs(
    flywheel: Flywheel,
    recorder: Recorder,
    cycle: date,
    manifest: dict[str, Any],
    prompts: Mapping[str, PromptInUse],
    writers: Writers,
    *,
    predictor: Callable[[], Predict],
    set_aside: Callable[[float], float] = lambda answer_tokens: 0.0,
) -> tuple[pa.Table, Shown]:
    """Rows of `generated_outputs` for one cycle, earlier attempts included, and what to tell people.

    `predictor` gives the pinned scoring model; it is asked only when there is something new to rank, and before
    anything is paid. `set_aside` says how many US dollars the embeddings of answers of so many tokens take.

    Raises:
        BudgetError: the answers and their embeddings may cost more than the cycle may; nothing was sent.
    """
    store, producer = recorder.store, flywheel.writer
    assert producer is not None
    plan = planned(flywheel, store, cycle, manifest, prompts)
    before = store.read(tables.GENERATED_OUTPUTS, flywheel.name, cycle)
    # What has not gone out rests on nothing yet: it is ranked by the model that is pinned now.
    settled = before if store.has(tables.PUBLISHED_OUTPUTS, flywheel.name, cycle) else before.slice(0, 0)
    is_known = {request.request.key for request in plan} <= set(settled["request_key"].to_pylist())
    predict = None if is_known else predictor()
    requests = [request.request for request in plan]
    report = _answers_within(requests, producer, store, writers, set_aside)
    if refusal := report.too_many_failed(producer.max_failed):
        raise FlywheelError(refusal)
    outputs = outputs_from_answers(
        plan,
        report.answers.values(),
        html=producer.html,
        hidden=producer.hidden,
        is_labelled=producer.text == "fields",
    )
    schema = json.loads(manifest["output_schema"]) if manifest["output_schema"] else None
    briefs = store.read(tables.BRIEFS, flywheel.name, cycle)
    references = [reference for prompt in prompts.values() for reference in prompt.references]
    blocked = blocked_reasons(outputs, briefs, references, flywheel.spec.guardrails, schema)
    constraints = flywheel.spec.guardrails.constraints
    outputs = judged(outputs, blocked, soft_scores(outputs, briefs, constraints))
    if predict is not None and flywheel.spec.arms.pools_segments:
        predict = partial(without_segments, predict)
    outputs = ranked(
        outputs,
        _predictions(outputs, settled, predict),
        flywheel.spec.metric.better,
        goal_weight=constraints.goal_weight if constraints else 0.0,
    )
    shown: Shown = {
        "requests": report.words,
        "n_failed": len(report.failures),
        "n_blocked": sum(reason is not None for reason in blocked),
        **_spent(report),
        "written_by": f"{OFFLINE_MODEL}: simulated" if manifest["model"] == OFFLINE_MODEL else manifest["model"],
    }
    return superseded_by(before, outputs, manifest["attempt"]), shown


def _answers_within(
    requests: Sequence[ChatRequest],
    producer: LlmProducer,
    store: Lake,
    writers: Writers,
    set_aside: Callable[[float], float],
) -> AskReport:
    """The answers, for what the budget leaves beside the embeddings of what they say."""
    budget = producer.max_cost_per_cycle
    if budget is None or not requests or {one.key for one in requests} <= _answered(requests, store):
        return writers.answer(requests, producer, store)
    seen: dict[str, float | None] = {
        model: experience_of(store, requests[0].flywheel, requests[0].cycle, model).completion_tokens
        for model in {request.model for request in requests}
    }
    lengths = (min(one.max_output_tokens, seen[one.model] or one.max_output_tokens) for one in requests)
    kept = set_aside(sum(lengths))
    if not kept:
        return writers.answer(requests, producer, store)
    try:
        return writers.answer(requests, producer.model_copy(update={"max_cost_per_cycle": budget - kept}), store)
    except BudgetError as error:
        raise BudgetError(
            f"{error} (Of the ${budget:.2f} of producer.max_cost_per_cycle, ${kept:.4f} are set aside for embeddings.)"
        ) from error


def _answered(requests: Sequence[ChatRequest], store: Lake) -> set[str]:
    return set(known_answers(store, requests[0].flywheel, requests[0].cycle))


def _spent(report: AskReport) -> Shown:
    """What was expected and what this run took, as numbers that can be plotted over cycles."""
    return {
        "prompt_tokens": report.usage.prompt,
        "completion_tokens": report.usage.completion,
        "expected_cost": _dollars(report.estimate.cost),
        "cost": _dollars(report.cost),
        "cost_of_cycle_so_far": _dollars(report.cycle_cost),
    }


def _dollars(cost: float | None) -> float | str:
    # Unknown is not nothing.
    return "unknown" if cost is None else round(cost, 6)


def without_segments(predict: Predict, rows: pa.Table) -> np.ndarray:
    """Predictions that do not tell segments apart where the control arm is not to: its rows are of none."""
    segments = [
        POOLED if arm == CONTROL else segment
        for arm, segment in zip(rows["arm"].to_pylist(), rows["segment"].to_pylist(), strict=True)
    ]
    position = rows.schema.get_field_index("segment")
    return predict(rows.set_column(position, rows.schema.field(position), pa.array(segments, pa.string())))


def _predictions(outputs: pa.Table, settled: pa.Table, predict: Predict | None) -> list[float]:
    """One prediction per output. Those of `settled` answers stand: they are what the choice rested on.

    A correction of earlier cycles replaces the model that a manifest pinned, so asking it again would give others.
    """
    known = dict(zip(settled["request_key"].to_pylist(), settled["predicted"].to_pylist(), strict=True))
    keys = outputs["request_key"].to_pylist()
    new = outputs.filter(pa.array([key not in known for key in keys], pa.bool_()))
    if predict is not None and new.num_rows:
        known |= dict(zip(new["request_key"].to_pylist(), predict(new).tolist(), strict=True))
    return [known[key] for key in keys]
