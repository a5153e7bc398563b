"""Having a better prompt proposed while a cycle is opened: at most one proposal a cycle, asked once, recorded first.

Here: whether it is time, what is read for it, and the rows of `proposed_prompt` and `prompt_frames`. Not here: what is
shown and kept (`learning/reflection.py`, `learning/optimising.py`), asking (`writing`, `llm`), and what becomes of a
proposal (the gate, at the close of the cycle).

Nothing here keeps a cycle from being opened. What cannot be asked, or is answered badly, ends in a row that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from flywheel_pipelines.chat import ChatRequest
from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.errors import FlywheelError, SpecError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning.frames import Author, Frame, Guideline, Proposal, frame_diff
from flywheel_pipelines.learning.reflection import (
    ANSWER_SCHEMA,
    Asked,
    Reflected,
    ask_for_guidelines,
    dropped_as_json,
    evidence_of,
    find_contrasts,
    read_guidelines,
)
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.prompts import KnownFrame, add_frame, champion_of, frame_on_trial, render
from flywheel_pipelines.loop.recorder import Markdown, Recorder, Shown
from flywheel_pipelines.loop.writing import OFFLINE_MODEL, Writers, offline_parameters
from flywheel_pipelines.production.rendering import without_role_marks
from flywheel_pipelines.spec import LlmProducer

REFLECTION = "reflection"
"""What a reflection's requests are asked for, where other requests have an arm."""
PROPOSED, NOTHING_NEW, NOT_DUE, FAILED = "proposed", "nothing_new", "not_due", "failed"
ASKED = (PROPOSED, NOTHING_NEW)
"""Outcomes for which a model was asked, and answered."""
AUTHORS: Mapping[str, Author] = {"reflect": "reflection", "gepa": "optimiser"}
"""Who stands as author of what a strategy proposes."""
ANSWER_TOKENS = 4_000
"""Most tokens of a reflection's answer."""


@dataclass(frozen=True)
class Outcome:
    """What came of one proposal; the columns of PROPOSED_PROMPT, and the frame to be registered."""

    outcome: str
    reason: str
    proposal: Proposal | None = None
    model: str | None = None
    n_winners: int = 0
    n_losers: int = 0
    n_guidelines: int = 0
    n_dropped: int = 0
    dropped: str = "[]"
    n_requests: int = 0
    cost: float | None = 0.0


@dataclass(frozen=True)
class Opening:
    """What a proposal is made from: the cycle that is opened, the close that it rests on, and the prompts in force."""

    flywheel: Flywheel
    store: Lake
    cycle: date
    predecessor: date
    champion: KnownFrame
    producer: LlmProducer
    writers: Writers
    now: datetime = field(repr=False)

    @property
    def model(self) -> str:
        """The model that is asked."""
        wanted = self.flywheel.spec.prompt.reflection_model
        return OFFLINE_MODEL if self.is_offline else wanted or self.producer.model

    @property
    def is_offline(self) -> bool:
        """Whether the offline writer answers, which only simulates."""
        return self.writers.is_offline or self.producer.model == OFFLINE_MODEL

    @property
    def parameters(self) -> dict[str, float | int | str]:
        """Parameters of its requests."""
        own = offline_parameters(self.flywheel) if self.is_offline else {}
        return self.producer.parameters | own

    @property
    def trial_starts(self) -> date:
        """The first cycle that can try what is proposed now: the close of this one puts it on trial."""
        return shift_cycle(self.cycle, self.flywheel.spec.cadence, 1)


def propose_prompts(
    flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date], writers: Writers, now: datetime
) -> Shown:
    """`proposed_prompt`: one row per cycle, and the frame in `prompt_frames` where there is one.

    A cycle with a manifest keeps what it has, and so does an answer; before that, what failed or was not due is looked
    at again.
    """
    store, shown = recorder.store, Shown()
    for cycle in cycles:
        before = store.read(tables.PROPOSED_PROMPT, flywheel.name, cycle, columns=tables.PROPOSED_PROMPT.columns)
        is_pinned = store.has(tables.CYCLE_MANIFEST, flywheel.name, cycle)
        if before.num_rows and (is_pinned or before["outcome"][0].as_py() in ASKED):
            row = before
        elif is_pinned:
            row = _row(flywheel, Outcome(NOT_DUE, "The cycle was opened before proposals were asked for."), None)
        else:
            row, diff = _propose(flywheel, store, cycle, writers, now)
            shown["changes"] = Markdown(f"```diff\n{diff}\n```" if diff else "none")
        read = [(tables.BRIEFS, cycle)]
        recorder.write(tables.PROPOSED_PROMPT, row, cycle, read)
        shown |= {name: row[name][0].as_py() for name in ("outcome", "reason", "n_guidelines", "n_dropped")}
    return shown


def _propose(flywheel: Flywheel, store: Lake, cycle: date, writers: Writers, now: datetime) -> tuple[pa.Table, str]:
    """The row of a cycle for which nothing was settled yet, and what the proposal changes."""
    predecessor = flywheel.previous(cycle)
    if not store.has(tables.SCORED_OUTPUTS, flywheel.name, predecessor):
        return _row(flywheel, Outcome(NOT_DUE, f"Cycle {predecessor} was not closed: nothing was learned."), None), ""
    champion = champion_of(flywheel, store, predecessor)
    waits = _why_not_now(flywheel, store, cycle, predecessor, writers)
    if waits is not None:
        return _row(flywheel, waits, champion), ""
    assert flywheel.writer is not None
    # The provider's batches take a day; a proposal is a handful of requests, so it is asked at once.
    producer = flywheel.writer.model_copy(update={"requests": "live"})
    opening = Opening(flywheel, store, cycle, predecessor, champion, producer, writers, now)
    try:
        if flywheel.spec.prompt.refresh == "gepa":
            from flywheel_pipelines.loop.optimising import optimise

            outcome = optimise(opening)
        else:
            outcome = reflect(opening)
    except FlywheelError as error:
        outcome = Outcome(FAILED, f"No proposal in this cycle: {error}", cost=None)
    diff = ""
    if outcome.proposal is not None:
        diff = frame_diff(champion.frame, outcome.proposal.frame)
        if not add_frame(store, flywheel.name, outcome.proposal, now) and not _is_ours(store, flywheel.name, outcome):
            outcome = replace(
                outcome,
                outcome=NOTHING_NEW,
                proposal=None,
                reason=f"Frame {outcome.proposal.frame.version} came out, which is in the library already.",
            )
    return _row(flywheel, outcome, champion), diff


def _is_ours(store: Lake, flywheel: str, outcome: Outcome) -> bool:
    """Whether the frame was registered by this very proposal, in a run that was cut off after it."""
    assert outcome.proposal is not None
    version = outcome.proposal.frame.version
    rows = store.read(tables.PROMPT_FRAMES, flywheel).to_pylist()
    return any(row["frame_version"] == version and row["proposed_for"] == outcome.proposal.proposed_for for row in rows)


def _why_not_now(flywheel: Flywheel, store: Lake, cycle: date, predecessor: date, writers: Writers) -> Outcome | None:
    """Why nothing is asked in this cycle; None when it is time."""
    spec = flywheel.spec.prompt
    if frame_on_trial(flywheel, store, predecessor) is not None:
        return Outcome(NOT_DUE, "A prompt is on trial; another is proposed once that is decided.")
    window = flywheel.window(predecessor, spec.reflect_every - 1) if spec.reflect_every > 1 else None
    if window is not None:
        earlier = store.read(tables.PROPOSED_PROMPT, flywheel.name, window).to_pylist()
        asked = sorted(row["cycle"] for row in earlier if row["outcome"] in ASKED)
        if asked:
            words = f"The last proposal was asked for in cycle {asked[-1]}"
            return Outcome(NOT_DUE, f"{words}; prompt.reflect_every is {spec.reflect_every}.")
    waiting = _waiting(flywheel, store, cycle, predecessor)
    if waiting:
        return Outcome(NOT_DUE, f"{len(waiting)} frame(s) wait for their trial: {', '.join(waiting[:3])}.")
    model = store.read(tables.CYCLE_MANIFEST, flywheel.name, predecessor, columns=["model"])["model"].to_pylist()
    if writers.is_offline and model and model[0] != OFFLINE_MODEL:
        words = f"No provider is configured, and {model[0]} wrote cycle {predecessor}: what only simulates must not"
        return Outcome(FAILED, f"{words} propose prompts for it. Set OPENAI_API_KEY or OPENAI_BASE_URL.")
    return None


def _waiting(flywheel: Flywheel, store: Lake, cycle: date, predecessor: date) -> list[str]:
    """Frames proposed for cycles that were not decided on yet, by others than the YAML.

    What a run of this very step registered before it was cut off does not wait: the step comes to it again.
    """
    author = AUTHORS[flywheel.spec.prompt.refresh]
    ours = (author, shift_cycle(cycle, flywheel.spec.cadence, 1))
    frames = store.read(tables.PROMPT_FRAMES, flywheel.name).to_pylist()
    return sorted(
        row["frame_version"]
        for row in frames
        if row["author"] != "template"
        and row["proposed_for"] > predecessor
        and (row["author"], row["proposed_for"]) != ours
    )


def reflect(opening: Opening) -> Outcome:
    """Have a model contrast winners with losers. Raises FlywheelError when it cannot be asked."""
    flywheel, store, spec = opening.flywheel, opening.store, opening.flywheel.spec.prompt
    asked = _what_to_show(opening)
    counts: dict[str, Any] = {"n_winners": len(asked.winners), "n_losers": len(asked.losers)}
    if len(asked.winners) < spec.reflect_support:
        words = f"{len(asked.winners)} pair(s) of winner and loser; prompt.reflect_support needs {spec.reflect_support}"
        return Outcome(NOT_DUE, f"Too little to contrast: {words}.", **counts)
    _check_that_guidelines_show(opening)
    request = ChatRequest(
        flywheel=flywheel.name,
        cycle=opening.cycle,
        brief_id=REFLECTION,
        arm=REFLECTION,
        variant=0,
        attempt=1,
        model=opening.model,
        messages=asked.messages,
        schema=ANSWER_SCHEMA,
        parameters=opening.parameters,
        max_output_tokens=ANSWER_TOKENS,
        prompt_version=opening.champion.frame.version,
    )
    report = opening.writers.answer([request], priced(opening), store)
    counts |= {"model": opening.model, "n_requests": 1, "cost": report.cost}
    if request.key not in report.answers:
        return Outcome(FAILED, f"No proposal in this cycle: {report.failures[request.key].reason}", **counts)
    answer = report.answers[request.key].content
    reflected = read_guidelines(
        answer,
        asked,
        opening.champion.frame,
        house_rules=flywheel.spec.house_rules,
        support=spec.reflect_support,
        most_learned=spec.learned_guidelines,
    )
    counts |= {
        "n_guidelines": len(answer["guidelines"]),
        "n_dropped": len(reflected.dropped),
        "dropped": dropped_as_json(reflected),
    }
    if not reflected.kept:
        return Outcome(NOTHING_NEW, f"{len(answer['guidelines'])} guideline(s) came back, none that holds.", **counts)
    return Outcome(
        PROPOSED,
        f"{len(reflected.kept)} guideline(s) from {len(asked.contrasts)} pairs; on trial from {opening.trial_starts}.",
        _proposal(opening, asked, reflected, request.key),
        **counts,
    )


def _what_to_show(opening: Opening) -> Asked:
    flywheel, store, spec = opening.flywheel, opening.store, opening.flywheel.spec
    window = flywheel.window(opening.predecessor, spec.corpus.lookback)
    contrasts = find_contrasts(
        _read(store, tables.SCORED_OUTPUTS, flywheel.name, window),
        _read(store, tables.PUBLISHED_OUTPUTS, flywheel.name, window),
        _read(store, tables.REVIEWED_OUTPUTS, flywheel.name, window),
    )
    return ask_for_guidelines(
        contrasts,
        opening.champion.frame,
        house_rules=spec.house_rules,
        metric=spec.floor.metric,
        support=spec.prompt.reflect_support,
        n_new=spec.prompt.learned_guidelines,
        max_tokens=spec.prompt.reflect_tokens,
        escape=without_role_marks,
    )


def _read(store: Lake, table: tables.TableContract, flywheel: str, window: CycleWindow) -> pa.Table:
    return store.read(table, flywheel, window, columns=table.columns)


def _check_that_guidelines_show(opening: Opening) -> None:
    """Raises SpecError when the champion's template has no place for guidelines, before anything is paid."""
    frame = opening.champion.frame
    trial = Frame(frame.template, (*frame.guidelines, Guideline("A guideline.")))
    try:
        render(opening.flywheel, KnownFrame(trial, "reflection"), tables.REFERENCE_CORPUS.empty())
    except SpecError as error:
        raise SpecError(f"The champion's template cannot show guidelines, so none is asked for. {error}") from error


def priced(opening: Opening) -> LlmProducer:
    """The producer's settings for a proposal's requests: with a budget that leaves the rest to the cycle's outputs.

    Offline nothing is paid, so there is none.
    """
    whole = opening.producer.max_cost_per_cycle
    own = opening.flywheel.spec.prompt.max_cost or (None if whole is None else whole / 2)
    budget = None if opening.is_offline else own if whole is None or own is None else min(own, whole)
    return opening.producer.model_copy(update={"max_cost_per_cycle": budget})


def _proposal(opening: Opening, asked: Asked, reflected: Reflected, request_key: str) -> Proposal:
    evidence = evidence_of(asked, reflected, model=opening.model, request_key=request_key)
    return Proposal(
        reflected.frame,
        "reflection",
        opening.trial_starts,
        parent=opening.champion.frame.version,
        evidence=evidence | ({"is_simulated": True} if opening.is_offline else {}),
        note=reflected.note,
    )


def _row(flywheel: Flywheel, outcome: Outcome, champion: KnownFrame | None) -> pa.Table:
    row = {
        "strategy": flywheel.spec.prompt.refresh,
        "frame_version": outcome.proposal.frame.version if outcome.proposal else None,
        "parent_version": champion.frame.version if champion else None,
        **{
            name: getattr(outcome, name)
            for name in ("outcome", "reason", "model", "n_winners", "n_losers", "n_guidelines", "n_dropped", "dropped")
        },
        "n_requests": outcome.n_requests,
        "cost": outcome.cost,
    }
    return pa.Table.from_pylist([row], schema=tables.PROPOSED_PROMPT.schema)
