"""Asking a cycle's questions: every request comes back with a valid answer, or with the reason why not.

Here: what is asked and what is known already, the report, and the order of reading, asking and landing. Not here: the
requests under way (`running`), one try (`sending`), what replies mean (`replies`), what is kept (`journal`, `ledger`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from flywheel_pipelines.chat import Answer, ChatRequest, Failure, Usage
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.budget import check_before
from flywheel_pipelines.llm.journal import Journal
from flywheel_pipelines.llm.ledger import experience_of, known_answers, land, spent
from flywheel_pipelines.llm.pricing import Estimate, Experience, estimate
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.running import Run
from flywheel_pipelines.llm.settings import AskSettings

T = TypeVar("T")


@dataclass(frozen=True)
class AskReport:
    """What came of a cycle's requests. Answers and failures are by request key, in the order that was asked for.

    `usage` and `cost` are what this run took, retries and failures included; `cost` is in US dollars, None when it
    is unknown. `cycle_cost` adds what earlier runs and attempts of the cycle took. `estimate` was made before the first
    request.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    n_reused: int = 0
    n_asked: int = 0
    n_tries: int = 0
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    cost: float | None = 0.0
    cycle_cost: float | None = 0.0
    estimate: Estimate = field(default_factory=lambda: Estimate(0, 0.0, 0.0, 0.0))
    seconds: float = 0.0
    retried: dict[str, int] = field(default_factory=dict)
    """Tries that came to nothing, by the word that the ledger keeps: rate_limited, timeout, invalid, ..."""

    @property
    def words(self) -> str:
        """The report in a sentence or two."""
        n = len(self.answers) + len(self.failures)
        parts = [f"{n:,} requests: {self.n_reused:,} answered before"]
        if self.n_asked:
            cost = "at an unknown price" if self.cost is None else f"for ${self.cost:.4f}"
            expected = "" if self.estimate.cost is None else f" (expected: ${self.estimate.cost:.4f})"
            parts.append(
                f"{self.n_asked:,} asked now in {self.n_tries:,} tries, {self.n_asked - len(self.failures):,} answered"
            )
            parts.append(f"{self.usage.prompt:,} tokens in and {self.usage.completion:,} out {cost}{expected}")
        said = ", ".join(parts) + "."
        if self.retried:
            said += " Tries in vain: " + ", ".join(f"{n:,} {word}" for word, n in sorted(self.retried.items())) + "."
        if self.failures:
            first = next(iter(self.failures.values()))
            said += (
                f" {len(self.failures):,} failed, the first because: {first.reason} Run again to ask for these only."
            )
        return said

    def too_many_failed(self, max_failed: float) -> str | None:
        """Why the cycle should not go on, in words, when more than this share of its requests failed; else None."""
        n = len(self.answers) + len(self.failures)
        if not n or len(self.failures) <= max_failed * n:
            return None
        return (
            f"{len(self.failures):,} of {n:,} requests failed ({len(self.failures) / n:.1%}); producer.max_failed "
            f"allows {max_failed:.1%}. {self.words}"
        )


def answer_requests(
    requests: Sequence[ChatRequest],
    *,
    lake: Lake,
    journal_folder: Path,
    provider: Provider | Callable[[], Provider],
    settings: AskSettings,
    now: Callable[[], datetime],
    on_progress: Callable[[int, int], None] | None = None,
) -> AskReport:
    """Answer the requests of one cycle, asking only for what no earlier run has an answer to.

    An answer is on disk before it is used, so a kill at any moment loses none, and the next run asks for the rest. The
    requests that failed are asked again by the next run, too.

    Args:
        requests: of one flywheel and cycle; equal ones are asked once.
        lake: where LLM_REQUESTS is read and appended to.
        journal_folder: where answers are kept until they are in the lake.
        provider: whom to ask; a function is called only when something is left to be asked.
        settings: how.
        now: the clock; it dates rows, and nothing depends on it.
        on_progress: called with the number of requests that are done and their number in all.

    Returns:
        The answers and failures of exactly the requests asked for.

    Raises:
        BudgetError: it would cost more than it may. Nothing was sent, or no more than fits.
        EndpointError: the endpoint refuses everything (key, quota, model, form). What was answered is kept.
        JournalError: another run is asking for the same cycle.
        SpecError: the requests' schema is not understood.
    """
    wanted = {request.key: request for request in requests}
    if not wanted:
        return AskReport()
    flywheel, cycle = _cycle_of(wanted.values())
    started = time.perf_counter()
    with Journal.open(journal_folder, flywheel, cycle) as journal:
        cycle_ledger = _CycleLedger(journal, lake, flywheel, cycle, now)
        cycle_ledger.land()
        known = known_answers(lake, flywheel, cycle)
        reused = {key: known[key] for key in wanted if key in known}
        pending = [request for key, request in wanted.items() if key not in known]
        if on_progress:
            on_progress(len(reused), len(wanted))
        if not pending:
            cost = spent(lake, flywheel, cycle)
            return AskReport(reused, n_reused=len(reused), cycle_cost=cost, seconds=time.perf_counter() - started)
        run, expected, before = _ask_pending(
            pending,
            cycle_ledger,
            folder=journal_folder,
            provider=provider() if callable(provider) else provider,
            settings=settings,
            on_done=(lambda n: on_progress(len(reused) + n, len(wanted))) if on_progress else None,
        )
    report = _report(wanted, reused, run, before)
    return replace(report, n_asked=len(pending), estimate=expected, seconds=time.perf_counter() - started)


def _report(wanted: Iterable[str], reused: dict[str, Answer], run: Run, before: float | None) -> AskReport:
    """What came of the requests with these keys; `before` is what the cycle had cost."""
    found = {**reused, **run.answers}
    return AskReport(
        answers={key: found[key] for key in wanted if key in found},
        failures={key: run.failures[key] for key in wanted if key in run.failures},
        n_reused=len(reused),
        n_tries=run.n_tries,
        usage=run.usage,
        cost=run.cost,
        cycle_cost=None if before is None or run.cost is None else before + run.cost,
        retried=dict(run.retried),
    )


def _cycle_of(requests: Iterable[ChatRequest]) -> tuple[str, date]:
    """The one flywheel and cycle that all requests are of."""
    cycles = {(request.flywheel, request.cycle) for request in requests}
    if len(cycles) > 1:
        raise ValueError(f"expected the requests of one flywheel and cycle, found {len(cycles)}: {sorted(cycles)[:3]}")
    return next(iter(cycles))


@dataclass(frozen=True)
class _CycleLedger:
    """The journal of a cycle and the lake that it lands in."""

    journal: Journal
    lake: Lake
    flywheel: str
    cycle: date
    now: Callable[[], datetime]

    def land(self) -> None:
        land(self.journal, self.lake, self.flywheel, self.cycle, self.now())


def _ask_pending(
    pending: Sequence[ChatRequest],
    ledger: _CycleLedger,
    *,
    folder: Path,
    provider: Provider,
    settings: AskSettings,
    on_done: Callable[[int], None] | None,
) -> tuple[Run, Estimate, float | None]:
    """Ask within the budget, and land what came of it. Returns the run, the estimate, and what was spent before."""
    lake, flywheel, cycle = ledger.lake, ledger.flywheel, ledger.cycle
    models = {request.model for request in pending}
    experience = {model: experience_of(lake, flywheel, cycle, model) for model in models}
    before = spent(lake, flywheel, cycle)
    expected = _estimate(pending, settings, experience)
    check_before(expected, models=models, prices=settings.prices, max_cost=settings.max_cost, spent=before)
    run = Run(
        journal=ledger.journal,
        folder=folder,
        provider=provider,
        settings=settings,
        experience=experience,
        spent=before,
        now=ledger.now,
        on_done=on_done,
    )
    try:
        run_to_end(run.ask(pending))
    except FlywheelError:
        # In SQL at once, for whoever looks for the reason. After a kill or an interrupt the next run does it.
        ledger.land()
        raise
    ledger.land()
    return run, expected, before


def _estimate(pending: Sequence[ChatRequest], settings: AskSettings, experience: dict[str, Experience]) -> Estimate:
    """What is left to be asked, each model by its own experience."""
    by_model = Counter(request.model for request in pending)
    parts = [
        estimate([one for one in pending if one.model == model], dict(settings.prices), experience[model])
        for model in sorted(by_model)
    ]
    costs = [part.cost for part in parts if part.cost is not None]
    return Estimate(
        len(pending),
        sum(part.prompt_tokens for part in parts),
        sum(part.completion_tokens for part in parts),
        sum(costs) if len(costs) == len(parts) else None,
    )


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in a thread of its own where an event loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
