"""Reading the results of one batch: lines of its files become rows of LLM_REQUESTS.

Here: matching lines to requests and judging them as live replies are judged. Not here: when that is done (`batch`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flywheel_pipelines.chat import Answer, ChatRequest, Failure, Usage
from flywheel_pipelines.llm.answer_schema import AnswerCheck
from flywheel_pipelines.llm.batch_calls import BatchCalls, BatchState
from flywheel_pipelines.llm.batch_records import InFlight
from flywheel_pipelines.llm.dialect import EndpointMemory, Terms
from flywheel_pipelines.llm.journal_entries import Ended, JournalRequest, JournalTry, Outcome, describe
from flywheel_pipelines.llm.ledger import row_of
from flywheel_pipelines.llm.payload import chat_body
from flywheel_pipelines.llm.pricing import cost_of
from flywheel_pipelines.llm.replies import Reply, Verdict, judge
from flywheel_pipelines.llm.settings import FORMS, AskSettings, Form

FACT = ("batch_id", "recorded_at", "source_row")
NOT_RUN = frozenset({"batch_expired", "batch_cancelled"})
"""Errors of requests that the provider never got to; they cost nothing and say nothing about the request."""


@dataclass
class Results:
    """What the files of one batch hold. `rows` are for LLM_REQUESTS, without the columns of every fact."""

    answers: dict[str, Answer] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    n_answered: int = 0
    n_unknown: int = 0
    n_duplicates: int = 0
    n_unwanted: int = 0
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    cost: float | None = 0.0


def read_results(
    state: BatchState,
    batch: InFlight,
    wanted: Mapping[str, ChatRequest],
    known: Mapping[str, Answer],
    *,
    calls: BatchCalls,
    memory: EndpointMemory,
    settings: AskSettings,
) -> Results:
    """Download and judge the results of a batch that ended.

    Args:
        state: the batch as the provider describes it.
        batch: the batch as it was submitted.
        wanted: the requests of the cycle by key, for what the ledger keeps of them.
        known: answers that the ledger has already; a second one is not recorded.
        calls: the provider.
        memory: where it is noted which form and parameters the endpoint took.
        settings: prices and forms.
    """
    reader = _Reader(state, batch, wanted, known, memory, settings)
    for line in _lines(state, calls):
        reader.read(line)
    return reader.finished()


def _lines(state: BatchState, calls: BatchCalls) -> Iterator[str]:
    # Answers first: should a request stand in both files, its answer counts.
    for file_id in (state.output_file_id, state.error_file_id):
        if file_id:
            yield from calls.lines(file_id)


class _Reader:
    """Takes the lines of one batch in."""

    def __init__(
        self,
        state: BatchState,
        batch: InFlight,
        wanted: Mapping[str, ChatRequest],
        known: Mapping[str, Answer],
        memory: EndpointMemory,
        settings: AskSettings,
    ) -> None:
        self.results = Results()
        self._state, self._batch, self._wanted, self._known = state, batch, wanted, known
        self._memory, self._settings = memory, settings
        self._asked, self._seen = set(batch.request_keys), set[str]()
        self._terms: dict[bool, Terms] = {}
        self._checks: dict[int, AnswerCheck] = {}

    def read(self, text: str) -> None:
        """Take in one line of a result file."""
        results = self.results
        try:
            line = json.loads(text)
            key = line["custom_id"]
        except (ValueError, KeyError, TypeError):
            results.n_unknown += 1
            return
        error = line.get("error")
        if isinstance(error, Mapping) and error.get("code") in NOT_RUN:
            return
        if key not in self._asked:
            results.n_unknown += 1
        elif key in self._seen:
            results.n_duplicates += 1
        elif key not in self._wanted:
            self._seen.add(key)
            results.n_unwanted += 1
        else:
            self._seen.add(key)
            self._judge(self._wanted[key], line)

    def finished(self) -> Results:
        """The results, once all lines are read."""
        self.results.left = [key for key in self._batch.request_keys if key not in self._seen and key in self._wanted]
        for has_schema, terms in self._terms.items():
            if has_schema:
                self._memory.remember(self._batch.model, terms)
        return self.results

    def _judge(self, request: ChatRequest, line: Mapping[str, Any]) -> None:
        form, terms = self._form(request)
        verdict = judge(_reply(line), self._check(request), chat_body(request, form, terms.dialect))
        self._learn(terms, form, verdict, request)
        cost = cost_of(verdict.usage, self._settings.prices.get(request.model), batch=True)
        if verdict.kind == "answered":
            self.results.n_answered += 1
            self.results.answers[request.key] = Answer(request.key, verdict.content or {}, verdict.usage, cost)
        else:
            self.results.failures[request.key] = Failure(request.key, verdict.words)
        if request.key in self._known:
            return
        self._count(verdict.usage, cost)
        self.results.rows.append(self._row(request, form, verdict, cost))

    def _row(self, request: ChatRequest, form: Form, verdict: Verdict, cost: float | None) -> dict[str, Any]:
        usage, is_answered = verdict.usage, verdict.kind == "answered"
        outcome = Outcome(
            result=verdict.result,
            detail=verdict.words,
            seconds=self._state.seconds,
            prompt_tokens=usage.prompt if usage else None,
            completion_tokens=usage.completion if usage else None,
            cached_tokens=usage.cached if usage else None,
            cost=cost,
        )
        ended = Ended(
            request.key,
            "answered" if is_answered else "failed",
            answer=json.dumps(verdict.content, ensure_ascii=False) if is_answered else None,
            error=None if is_answered else verdict.words,
            latency=self._state.seconds or 0.0,
        )
        sent = JournalTry(1, form, self._batch.submitted_at.isoformat(), outcome)
        row = row_of(
            JournalRequest(request.key, describe(request, "batch"), (sent,), ended), "", self._batch.submitted_at, 0
        )
        return {name: value for name, value in row.items() if name not in FACT}

    def _form(self, request: ChatRequest) -> tuple[Form, Terms]:
        """The form in which the batch asked, which its name tells, and what is known of the endpoint."""
        has_schema = request.schema is not None
        if has_schema not in self._terms:
            wanted = self._settings.structured_output if has_schema else "prompt"
            self._terms[has_schema] = self._memory.terms(request.model, wanted)
        terms = self._terms[has_schema]
        named = (self._state.metadata or {}).get("form")
        for form in FORMS:
            if form == named:
                return form, terms
        return terms.choose(), terms

    def _learn(self, terms: Terms, form: Form, verdict: Verdict, request: ChatRequest) -> None:
        terms.learn(form, verdict, limit=request.max_output_tokens)
        if verdict.kind in ("form_refused", "parameter_refused") and terms.left:
            # A batch learns once a day: the next one had better ask in the way that was not refused.
            terms.settled = terms.settled or terms.left[0]

    def _check(self, request: ChatRequest) -> AnswerCheck:
        name = id(request.schema)
        if name not in self._checks:
            self._checks[name] = AnswerCheck(request.schema, "producer.output")
        return self._checks[name]

    def _count(self, usage: Usage | None, cost: float | None) -> None:
        if usage is None:
            return
        total = self.results.usage
        self.results.usage = Usage(
            total.prompt + usage.prompt, total.completion + usage.completion, total.cached + usage.cached
        )
        self.results.cost = None if self.results.cost is None or cost is None else self.results.cost + cost


def _reply(line: Mapping[str, Any]) -> Reply:
    """A result line as the reply that a live request would have had."""
    response = line.get("response")
    if isinstance(response, Mapping):
        return Reply(int(response.get("status_code") or 500), response.get("body"))
    error = line.get("error")
    return Reply(500, {"error": error if isinstance(error, Mapping) else {"message": str(error)}})
