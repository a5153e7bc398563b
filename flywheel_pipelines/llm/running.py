"""The requests of one run, under way together: slots, tries, retries, and the stop.

Here: the life of each request from its first try to its end. Not here: what is known from before and the report
(`asking`).

A try is on disk before it is sent, and its outcome before it is used. Neither wait takes a slot: the next tries are
written down while the present ones are under way, a few more than there are slots, so that none stands empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from flywheel_pipelines.chat import Answer, ChatRequest, Failure, Usage
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.llm.answer_schema import AnswerCheck
from flywheel_pipelines.llm.budget import Purse
from flywheel_pipelines.llm.dialect import EndpointMemory, Terms
from flywheel_pipelines.llm.journal import Journal
from flywheel_pipelines.llm.journal_entries import Asked, Ended, Outcome, Returned, Sent, Withdrawn
from flywheel_pipelines.llm.payload import chat_body
from flywheel_pipelines.llm.pricing import Experience, cost_of, worst_cost
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.replies import Verdict, backoff, judge
from flywheel_pipelines.llm.sending import NotSent, Sender
from flywheel_pipelines.llm.settings import AskSettings, Form

LESSONS = 8
"""So often may one request be refused for its form or parameters; there are fewer to be learned."""


class EndpointError(FlywheelError):
    """The endpoint refuses what everything else would ask of it, too, or cannot be reached."""


class Stopped(Exception):
    """The run is ending; this request is left for the next."""


class _Life:
    """One request on its way: what it took so far."""

    def __init__(self, request: ChatRequest) -> None:
        self.request = request
        self.started = time.perf_counter()
        self.n_tries = self.n_waits = self.n_reasks = self.n_lessons = 0

    @property
    def idempotency_key(self) -> str:
        """The request's key for as long as the same answer would do; a question asked again wants another answer."""
        return self.request.key if not self.n_reasks else f"{self.request.key}-{self.n_reasks}"


class Run:
    """Asks requests of one cycle. `answers`, `failures` and the totals are complete once `ask` returns."""

    def __init__(
        self,
        *,
        journal: Journal,
        folder: Path,
        provider: Provider,
        settings: AskSettings,
        experience: Mapping[str, Experience],
        spent: float | None,
        now: Callable[[], datetime],
        on_done: Callable[[int], None] | None,
    ) -> None:
        """Nothing is sent before `ask`."""
        self.answers: dict[str, Answer] = {}
        self.failures: dict[str, Failure] = {}
        self.n_tries = 0
        self.usage = Usage(0, 0)
        self.cost: float | None = 0.0
        self.retried: Counter[str] = Counter()
        self._journal, self._provider, self._settings = journal, provider, settings
        self._experience, self._now, self._on_done = experience, now, on_done
        self._purse = Purse(settings.max_cost, spent)
        self._memory = EndpointMemory(folder, provider.dialect_name)
        self._terms: dict[tuple[str, bool], Terms] = {}
        self._remembered: dict[str, object] = {}
        self._checks: dict[int, AnswerCheck] = {}
        self._ready = asyncio.Semaphore(settings.concurrency + max(2, settings.concurrency // 2))
        self._stop = asyncio.Event()
        self._error: BaseException | None = None
        self._was_heard = self._is_ending = False

    async def ask(self, requests: Sequence[ChatRequest]) -> None:
        """Bring every request to its end.

        Raises:
            EndpointError, BudgetError, JournalError: the run stopped; requests under way were given a moment to end.
        """
        for request in requests:
            self._check_of(request)
        left = iter(requests)
        # Twice the slots: a request that waits for its next try takes none.
        n_workers = min(len(requests), 2 * self._settings.concurrency)
        settings = self._settings
        sender = Sender(self._provider, settings.concurrency, settings.timeout, lambda: not self._stop.is_set())
        async with sender:
            workers = [asyncio.create_task(self._work(left, sender)) for _ in range(n_workers)]
            stop = asyncio.create_task(self._stop.wait())
            try:
                everyone = asyncio.create_task(asyncio.wait(workers))
                await asyncio.wait({everyone, stop}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({everyone}, timeout=self._settings.grace if self._stop.is_set() else None)
            finally:
                for task in (stop, everyone, *workers):
                    task.cancel()
                await asyncio.gather(stop, everyone, *workers, return_exceptions=True)
        if isinstance(self._error, EndpointError):
            kept = f"{len(self.answers):,} requests were answered in this run and are kept."
            raise EndpointError(f"{self._error} {kept}")
        if self._error is not None:
            raise self._error

    async def _work(self, left: Iterator[ChatRequest], sender: Sender) -> None:
        with contextlib.suppress(Stopped):
            for request in left:
                try:
                    await self._ask_one(_Life(request), sender)
                except (Stopped, asyncio.CancelledError):
                    raise
                except Exception as error:
                    self._end_run(error)
                if self._on_done:
                    self._on_done(len(self.answers) + len(self.failures))
        if not self._is_ending:
            # Nothing is left to begin with: while the last answers are under way there is time to read the others.
            self._is_ending = True
            self._journal.read_ahead()

    # -- one request ------------------------------------------------------------------------------------------------
    async def _ask_one(self, life: _Life, sender: Sender) -> None:
        """Try until the request is answered or given up."""
        terms = self._terms_of(life.request)
        wait = 0.0
        while True:
            await self._pause(wait)
            async with terms.turn():
                form = terms.choose()
                verdict, outcome = await self._try(life, sender, form, terms)
                learned = terms.learn(form, verdict, limit=life.request.max_output_tokens)
                self._remember(life.request, terms)
            returned = Returned(life.request.key, life.n_tries, outcome)
            if verdict.kind == "answered":
                await self._keep_answer(life, verdict, returned)
                return
            self.retried[verdict.result] += 1
            reason, wait = self._next(life, verdict, learned)
            if reason is None:
                await self._journal.store(returned)
                continue
            # Before anything else goes out, even before this is stored.
            self._stop_if_hopeless(verdict, reason)
            await self._journal.store(
                returned, Ended(life.request.key, "failed", error=reason, latency=_since(life.started))
            )
            self.failures[life.request.key] = Failure(life.request.key, reason)
            return

    async def _try(self, life: _Life, sender: Sender, form: Form, terms: Terms) -> tuple[Verdict, Outcome]:
        """Send once: written down first, then in a slot."""
        request, check = life.request, self._check_of(life.request)
        price = self._settings.prices.get(request.model)
        most = worst_cost(request, price, self._experience[request.model]) if price else 0.0
        async with self._ready:
            await self._purse.reserve(most)
            cost = None
            try:
                life.n_tries += 1
                self._raise_if_stopping()
                await self._journal.store(Asked(request), Sent(request.key, life.n_tries, form, self._now()))
                body = chat_body(request, form, terms.dialect, reask=life.n_reasks)
                try:
                    reply = await sender.send(body, life.idempotency_key)
                except NotSent:
                    await self._journal.store(Withdrawn(request.key, life.n_tries))
                    raise Stopped from None
                self.n_tries += 1
                verdict = judge(reply, check, body)
                cost = cost_of(verdict.usage, price)
            finally:
                await self._purse.settle(most, cost)
        self._was_heard |= reply.status is not None and reply.status < 500
        self._count(verdict.usage, cost)
        usage = verdict.usage
        return verdict, Outcome(
            result=verdict.result,
            detail=verdict.words,
            status=reply.status,
            seconds=reply.seconds,
            prompt_tokens=usage.prompt if usage else None,
            completion_tokens=usage.completion if usage else None,
            cached_tokens=usage.cached if usage else None,
            cost=cost,
        )

    async def _keep_answer(self, life: _Life, verdict: Verdict, returned: Returned) -> None:
        """Store the answer, then use it; what is used is what was stored."""
        stored = json.dumps(verdict.content, ensure_ascii=False)
        key = life.request.key
        await self._journal.store(returned, Ended(key, "answered", answer=stored, latency=_since(life.started)))
        self.answers[key] = Answer(key, json.loads(stored), verdict.usage, returned.outcome.cost)

    def _next(self, life: _Life, verdict: Verdict, learned: bool) -> tuple[str | None, float]:
        """Why the request is given up, or None and the seconds until its next try."""
        settings = self._settings
        if verdict.kind in ("form_refused", "parameter_refused", "bad_request"):
            life.n_lessons += 1
            if learned and life.n_lessons <= LESSONS:
                return None, 0.0
            return verdict.words, 0.0
        if verdict.kind == "unusable":
            life.n_reasks += 1
            if life.n_reasks <= settings.max_reasks:
                return None, 0.0
            return f"asked {life.n_reasks} times without a usable answer; at last {verdict.words}.", 0.0
        if verdict.kind != "wait":
            return verdict.words, 0.0
        life.n_waits += 1
        if life.n_waits >= settings.max_tries:
            return f"sent {life.n_waits} times in vain; at last {verdict.words}.", 0.0
        if learned:
            return None, 0.0
        wait = backoff(life.request.key, life.n_waits, settings.first_wait, settings.max_wait)
        if verdict.retry_after is None:
            return None, wait
        if verdict.retry_after > settings.max_wait:
            return (
                f"the endpoint asks to wait {verdict.retry_after:,.0f} s ({verdict.words}); at most "
                f"{settings.max_wait:,.0f} s are waited for. Run again later.",
                0.0,
            )
        # Not before it was asked for, and not all at the same moment.
        return None, verdict.retry_after + min(wait, 0.1 * verdict.retry_after)

    # -- the run ----------------------------------------------------------------------------------------------------
    def _stop_if_hopeless(self, verdict: Verdict, reason: str) -> None:
        """End the run when the others would fail in the same way."""
        if verdict.kind in ("stop", "form_refused", "parameter_refused", "bad_request"):
            self._end_run(EndpointError(self._in_words(reason)))
        elif verdict.kind == "wait" and not self._was_heard:
            todo = "Check OPENAI_BASE_URL and that the server is running, then run again."
            self._end_run(EndpointError(self._in_words(f"{reason} It has not answered a single request. {todo}")))

    def _in_words(self, reason: str) -> str:
        return f"{self._provider.name} was asked and the run stopped: {self._provider.redact(reason)}"

    def _end_run(self, error: BaseException) -> None:
        self._error = self._error or error
        self._stop.set()

    def _raise_if_stopping(self) -> None:
        if self._stop.is_set():
            raise Stopped

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than the run goes on."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)
        self._raise_if_stopping()

    def _count(self, usage: Usage | None, cost: float | None) -> None:
        if usage is None:
            return
        total = self.usage
        self.usage = Usage(
            total.prompt + usage.prompt, total.completion + usage.completion, total.cached + usage.cached
        )
        self.cost = None if self.cost is None or cost is None else self.cost + cost

    def _terms_of(self, request: ChatRequest) -> Terms:
        kind = (request.model, request.schema is not None)
        if kind not in self._terms:
            # Without a schema there is no form to choose.
            wanted = self._settings.structured_output if request.schema is not None else "prompt"
            self._terms[kind] = self._memory.terms(request.model, wanted)
        return self._terms[kind]

    def _remember(self, request: ChatRequest, terms: Terms) -> None:
        """Keep what is new about the endpoint, at once: after a kill it would be learned again from paid requests."""
        known = (terms.settled, tuple(terms.refused), terms.dialect)
        if request.schema is not None and terms.settled and self._remembered.get(request.model) != known:
            self._remembered[request.model] = known
            self._memory.remember(request.model, terms)

    def _check_of(self, request: ChatRequest) -> AnswerCheck:
        # By identity: requests share one schema object, and comparing schemas for every try is not free.
        name = id(request.schema)
        if name not in self._checks:
            self._checks[name] = AnswerCheck(request.schema, "producer.output")
        return self._checks[name]


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 6)
