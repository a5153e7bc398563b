"""A cycle's requests through the provider's Batch API: cheaper, within 24 hours, into the same ledger.

Here: submitting what has no answer, looking at what is under way, and collecting what ended. Not here: the calls
(`batch_calls`), what is remembered (`batch_records`), reading result lines (`batch_results`), live requests (`asking`).

Every step may be repeated. What is submitted and not collected is never submitted again; results are read from the
provider's files until they stand in the lake together with the event that says so. A batch that was started by a run
that did not live to record it is found again by its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

from flywheel_pipelines.chat import Answer, ChatRequest, Failure, Usage
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import LLM_REQUESTS
from flywheel_pipelines.llm.answer_schema import AnswerCheck
from flywheel_pipelines.llm.batch_calls import ENDPOINT, LOST, BatchCalls, BatchError, BatchState
from flywheel_pipelines.llm.batch_records import (
    InFlight,
    Intent,
    in_flight,
    read_intent,
    record_event,
    recorded_batches,
    remove_intent,
    submission_of,
    write_intent,
)
from flywheel_pipelines.llm.batch_results import Results, read_results
from flywheel_pipelines.llm.budget import check_before
from flywheel_pipelines.llm.dialect import EndpointMemory, Terms
from flywheel_pipelines.llm.journal import Journal
from flywheel_pipelines.llm.ledger import experience_of, known_answers, land, spent
from flywheel_pipelines.llm.payload import chat_body
from flywheel_pipelines.llm.pricing import Estimate, Experience, estimate
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.settings import AskSettings, Form

__all__ = ["BatchError", "BatchState", "Collection", "Submission", "batch_states", "collect_ended", "submit_missing"]

MAX_REQUESTS, MAX_BYTES = 50_000, 180_000_000
"""What one batch may hold; OpenAI takes 50,000 requests and 200 MB."""
CLOCK_DRIFT = 3_600
"""Seconds by which the provider's clock may lag behind ours when its list is searched."""


@dataclass(frozen=True)
class Submission:
    """What was handed over. `adopted` are batches of an earlier run that had not been recorded."""

    submitted: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    n_submitted: int = 0
    n_answered: int = 0
    n_in_flight: int = 0
    given_up: dict[str, Failure] = field(default_factory=dict)
    """Requests that failed so often that they are not submitted again, by key."""
    estimate: Estimate = field(default_factory=lambda: Estimate(0, 0.0, 0.0, 0.0))

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to wait for."""
        return not (self.n_submitted or self.n_in_flight)

    @property
    def words(self) -> str:
        """The submission in a sentence."""
        cost = "" if self.estimate.cost is None else f", expected to cost ${self.estimate.cost:.4f}"
        said = (
            f"{self.n_submitted:,} requests submitted in {len(self.submitted)} batches{cost}; {self.n_answered:,} "
            f"answered before, {self.n_in_flight:,} under way, {len(self.given_up):,} given up."
        )
        return said + (f" {len(self.adopted)} batches of an earlier run were found again." if self.adopted else "")


@dataclass(frozen=True)
class Collection:
    """What came of the batches that ended. `left` are keys that were neither answered nor refused: submit them again.

    `cost` is in US dollars with the discount, None when unknown. `n_unknown`, `n_duplicates` and `n_unwanted` count
    result lines that were passed over: of no request of the batch, a second one of the same request, and of a request
    that is no longer asked.
    """

    batches: tuple[BatchState, ...] = ()
    answers: dict[str, Answer] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    n_unknown: int = 0
    n_duplicates: int = 0
    n_unwanted: int = 0
    n_under_way: int = 0
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    cost: float | None = 0.0

    @property
    def words(self) -> str:
        """The collection in a few sentences."""
        cost = "at an unknown price" if self.cost is None else f"for ${self.cost:.4f}"
        said = (
            f"{len(self.batches)} batches ended, {self.n_under_way} under way: {len(self.answers):,} answers {cost}, "
            f"{len(self.failures):,} failed, {len(self.left):,} to be submitted again."
        )
        if passed_over := self.n_unknown + self.n_duplicates + self.n_unwanted:
            said += (
                f" {passed_over:,} lines passed over ({self.n_unknown:,} of unknown requests, {self.n_duplicates:,} "
                f"twice, {self.n_unwanted:,} no longer asked)."
            )
        for batch in self.batches:
            if batch.problems:
                said += f" {batch.provider_batch_id} {batch.status}: {' '.join(batch.problems[:3])}"
        return said


def submit_missing(
    requests: Sequence[ChatRequest],
    *,
    lake: Lake,
    journal_folder: Path,
    provider: Provider,
    settings: AskSettings,
    now: Callable[[], datetime],
) -> Submission:
    """Hand over the requests that have no answer and are in no batch under way; does nothing when there are none.

    A request whose batch answers were refused or unusable `settings.max_reasks` + 1 times is given up.

    Args:
        requests: of one flywheel and cycle; equal ones are submitted once.
        lake: where LLM_REQUESTS is read and LLM_BATCHES appended to.
        journal_folder: as for `answer_requests`; one run at a time works on a cycle.
        provider: whom to ask.
        settings: how; `max_cost` counts what is under way as well.
        now: the clock; it dates rows.

    Raises:
        BudgetError: it would cost more than it may; nothing was submitted.
        BatchError: the provider refuses, or cannot be reached.
        JournalError: another run is at work on the same cycle.
    """
    wanted = {request.key: request for request in requests}
    if not wanted:
        return Submission()
    flywheel, cycle = _one_cycle(requests)
    for schema in {id(request.schema): request.schema for request in wanted.values()}.values():
        AnswerCheck(schema, "producer.output")
    with Journal.open(journal_folder, flywheel, cycle) as journal, BatchCalls(provider, settings) as calls:
        land(journal, lake, flywheel, cycle, now())
        adopted = _adopt(lake, journal_folder, flywheel, cycle, calls, now)
        known = known_answers(lake, flywheel, cycle)
        waiting = {key for batch in in_flight(lake, flywheel, cycle) for key in batch.request_keys}
        failed = _failures_so_far(lake, flywheel, cycle)
        given_up = {
            key: Failure(key, failed[key][-1])
            for key in wanted
            if key not in known and key not in waiting and len(failed.get(key, ())) > settings.max_reasks
        }
        missing = [request for key, request in wanted.items() if key not in {*known, *waiting, *given_up}]
        result = Submission(
            adopted=adopted,
            n_submitted=len(missing),
            n_answered=sum(key in known for key in wanted),
            n_in_flight=sum(key in waiting for key in wanted),
            given_up=given_up,
        )
        if not missing:
            return result
        under_way = [request for key, request in wanted.items() if key in waiting]
        expected = _check_budget(missing, under_way, lake, settings)
        memory = EndpointMemory(journal_folder, provider.dialect_name)
        parts = _parts(missing, memory, settings, {key: len(words) for key, words in failed.items()})
        submitted = tuple(_start(part, calls, lake, journal_folder, now) for part in parts)
    return replace(result, submitted=submitted, estimate=expected)


def batch_states(
    lake: Lake, flywheel: str, cycle: date, provider: Provider, settings: AskSettings | None = None
) -> list[BatchState]:
    """How the batches of a cycle stand that were submitted and not collected, the oldest first.

    Raises:
        BatchError: the provider refuses, or cannot be reached.
    """
    waiting = in_flight(lake, flywheel, cycle)
    if not waiting:
        return []
    with BatchCalls(provider, settings or AskSettings()) as calls:
        return [calls.state(batch.provider_batch_id, len(batch.request_keys)) for batch in waiting]


def collect_ended(
    requests: Sequence[ChatRequest],
    *,
    lake: Lake,
    journal_folder: Path,
    provider: Provider,
    settings: AskSettings,
    now: Callable[[], datetime],
) -> Collection:
    """Bring the results of every batch that ended into LLM_REQUESTS; does nothing while all are under way.

    Answers are checked as live ones are. What a batch that expired, was cancelled or got lost did not answer is left to
    be submitted again. Arguments and errors as for `submit_missing`; `requests` should hold those of an earlier attempt
    as well when a batch of it may be under way, for answers to others cannot be recorded.
    """
    if not requests:
        return Collection()
    flywheel, cycle = _one_cycle(requests)
    wanted = {request.key: request for request in requests}
    with Journal.open(journal_folder, flywheel, cycle), BatchCalls(provider, settings) as calls:
        memory = EndpointMemory(journal_folder, provider.dialect_name)
        found: list[tuple[BatchState, Results]] = []
        waiting = in_flight(lake, flywheel, cycle)
        for batch in waiting:
            state = calls.state(batch.provider_batch_id, len(batch.request_keys))
            if not state.is_ended:
                continue
            known = known_answers(lake, flywheel, cycle)
            results = read_results(state, batch, wanted, known, calls=calls, memory=memory, settings=settings)
            event = "failed" if state.status == LOST else state.status
            record_event(
                lake, flywheel, cycle, batch, event, now(), n_answered=results.n_answered, results=results.rows
            )
            found.append((state, results))
    return _collection(found, len(waiting) - len(found))


def _collection(found: Sequence[tuple[BatchState, Results]], n_under_way: int) -> Collection:
    answers: dict[str, Answer] = {}
    failures: dict[str, Failure] = {}
    for _, results in found:
        answers.update(results.answers)
        failures.update(results.failures)
    parts = [results for _, results in found]
    costs = [part.cost for part in parts]
    return Collection(
        batches=tuple(state for state, _ in found),
        answers=answers,
        failures=failures,
        left=tuple(key for part in parts for key in part.left),
        n_unknown=sum(part.n_unknown for part in parts),
        n_duplicates=sum(part.n_duplicates for part in parts),
        n_unwanted=sum(part.n_unwanted for part in parts),
        n_under_way=n_under_way,
        usage=Usage(
            sum(part.usage.prompt for part in parts),
            sum(part.usage.completion for part in parts),
            sum(part.usage.cached for part in parts),
        ),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


def _one_cycle(requests: Sequence[ChatRequest]) -> tuple[str, date]:
    cycles = {(request.flywheel, request.cycle) for request in requests}
    if len(cycles) > 1:
        raise ValueError(f"expected the requests of one flywheel and cycle, found {len(cycles)}: {sorted(cycles)[:3]}")
    return next(iter(cycles))


def _adopt(
    lake: Lake, folder: Path, flywheel: str, cycle: date, calls: BatchCalls, now: Callable[[], datetime]
) -> tuple[str, ...]:
    """Look for the batch of a run that was killed between starting it and recording it, and record it."""
    intent = read_intent(folder, flywheel, cycle)
    if intent is None:
        return ()
    recorded = recorded_batches(lake, flywheel, cycle)
    adopted = []
    for state in calls.newest(intent.at - CLOCK_DRIFT):
        named = state.metadata or {}
        ours = (named.get("flywheel"), named.get("cycle"), named.get("submission"))
        if ours != (flywheel, cycle.isoformat(), intent.submission) or state.provider_batch_id in recorded:
            continue
        started = InFlight(state.provider_batch_id, state.input_file_id, intent.model, intent.request_keys, now())
        record_event(lake, flywheel, cycle, started, "submitted", started.submitted_at)
        adopted.append(state.provider_batch_id)
    remove_intent(folder, flywheel, cycle)
    return tuple(adopted)


def _failures_so_far(lake: Lake, flywheel: str, cycle: date) -> dict[str, list[str]]:
    """Why requests failed in earlier batches, by key, the latest last."""
    rows = lake.read(
        LLM_REQUESTS, flywheel, cycle, ["request_key", "error"], where="status = 'failed' and mode = 'batch'"
    )
    failed: dict[str, list[str]] = {}
    for row in rows.to_pylist():
        failed.setdefault(row["request_key"], []).append(row["error"])
    return failed


def _check_budget(
    missing: Sequence[ChatRequest], under_way: Sequence[ChatRequest], lake: Lake, settings: AskSettings
) -> Estimate:
    """The estimate of what is missing. Raises BudgetError when that and what is under way may cost too much."""
    flywheel, cycle = missing[0].flywheel, missing[0].cycle
    models = {request.model for request in (*missing, *under_way)}

    def expected(requests: Sequence[ChatRequest]) -> Estimate:
        parts = []
        for model in sorted(models):
            experience: Experience = experience_of(lake, flywheel, cycle, model)
            asked = [request for request in requests if request.model == model]
            parts.append(estimate(asked, dict(settings.prices), experience, batch=True))
        costs = [part.cost for part in parts]
        return Estimate(
            sum(part.n_requests for part in parts),
            sum(part.prompt_tokens for part in parts),
            sum(part.completion_tokens for part in parts),
            None if None in costs else sum(cost for cost in costs if cost is not None),
        )

    before = spent(lake, flywheel, cycle)
    check_before(
        expected([*missing, *under_way]),
        models=models,
        prices=settings.prices,
        max_cost=settings.max_cost,
        spent=before,
    )
    return expected(missing)


@dataclass(frozen=True)
class _Part:
    """What goes into one batch."""

    requests: tuple[ChatRequest, ...]
    form: Form
    content: bytes


def _parts(
    missing: Sequence[ChatRequest], memory: EndpointMemory, settings: AskSettings, n_failed: dict[str, int]
) -> Iterator[_Part]:
    """The requests in files: one model and one form each, within what a batch may hold."""
    by_kind: dict[tuple[str, bool], list[ChatRequest]] = {}
    for request in missing:
        by_kind.setdefault((request.model, request.schema is not None), []).append(request)
    for (model, has_schema), asked in by_kind.items():
        terms: Terms = memory.terms(model, settings.structured_output if has_schema else "prompt")
        form = terms.choose()
        lines: list[bytes] = []
        start, size = 0, 0
        for number, request in enumerate(asked):
            body = chat_body(request, form, terms.dialect, reask=n_failed.get(request.key, 0))
            line = {"custom_id": request.key, "method": "POST", "url": ENDPOINT, "body": body}
            text = json.dumps(line, ensure_ascii=False).encode() + b"\n"
            if lines and (len(lines) >= MAX_REQUESTS or size + len(text) > MAX_BYTES):
                yield _Part(tuple(asked[start:number]), form, b"".join(lines))
                lines, start, size = [], number, 0
            lines.append(text)
            size += len(text)
        yield _Part(tuple(asked[start:]), form, b"".join(lines))


def _start(part: _Part, calls: BatchCalls, lake: Lake, folder: Path, now: Callable[[], datetime]) -> str:
    """Upload, write the intent down, start, record; returns the provider's id of the batch."""
    first = part.requests[0]
    flywheel, cycle = first.flywheel, first.cycle
    keys = tuple(request.key for request in part.requests)
    submission = submission_of(keys)
    file_id = calls.upload(part.content, f"{flywheel}-{cycle}-{submission}.jsonl")
    write_intent(folder, flywheel, cycle, Intent(submission, first.model, part.form, keys, now().timestamp()))
    metadata = {"flywheel": flywheel, "cycle": cycle.isoformat(), "submission": submission, "form": part.form}
    state = calls.create(file_id, metadata)
    started = InFlight(state.provider_batch_id, file_id, first.model, keys, now())
    record_event(lake, flywheel, cycle, started, "submitted", started.submitted_at)
    remove_intent(folder, flywheel, cycle)
    return state.provider_batch_id
