"""What may happen to the feedback of a flywheel: files, corrections, duplicates and kills, in any order.

Here: a world whose cycles are published, the events, and playing them. Not here: what must hold afterwards.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st

from flywheel_pipelines.cycles import cycle_range, cycle_start
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop import closing
from flywheel_pipelines.loop.corrections import correction_due
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.loop.weighing import weigh
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, play
from flywheel_pipelines_tests.small_world import fingerprint
from flywheel_pipelines_tests.written_world import NAME, SETTINGS, WEEKS, WrittenWorld

CYCLES = WEEKS[:3]
OVER = cycle_start(WEEKS[3])
"""The first instant after the cycles are over; the events come two days apart, so that the last cycle ripens."""
MAILER, REPLACING = "mailer", "mailer_export"
CLOSE_TABLES = (
    "performance_metrics", "reviewed_outputs", "ruled_outputs", "scored_outputs", "guardrail_scores", "scoring_model",
    "scoring_model_terms", "scoring_model_skill", "ancestry", "reference_corpus", "reference_changes",
    "collapse_signs", "prompt_gate", "refreshed_prompt", "brief_outcomes", "momentum", "segment_momentum",
    "momentum_parts", "audit",
)  # fmt: skip


@dataclass(frozen=True)
class Landing:
    """A file arrives: rows of (output, day after its cycle began, sends, replies); `killed_at` counts renames."""

    feed: str
    rows: tuple[tuple[int, int, int, int], ...]
    killed_at: int | None = None
    """The rename before which the process dies; the file is handed in again at the next event."""


@dataclass(frozen=True)
class Again:
    """A file that arrived before arrives once more."""

    number: int


@dataclass(frozen=True)
class Close:
    """What is stale is closed; `killed_at` counts renames."""

    killed_at: int | None = None


Event = Landing | Again | Close
_rows = st.lists(
    st.tuples(st.integers(0, 17), st.integers(0, 8), st.integers(0, 60), st.integers(0, 70)), min_size=1, max_size=8
)
_kill = st.none() | st.integers(0, 6)


def histories(most: int) -> st.SearchStrategy[list[Event]]:
    """Two events to `most`, in any order."""
    landings = st.builds(Landing, st.sampled_from([MAILER, MAILER, REPLACING]), _rows.map(tuple), _kill)
    closes = st.builds(Close, st.none() | st.integers(0, 40))
    return st.lists(st.one_of(landings, st.builds(Again, st.integers(0, 5)), closes), min_size=2, max_size=most)


class Killed(BaseException):
    """Stands for a kill: nothing in the code under test may catch it."""


@dataclass
class Kill:
    """Whether it came, and how many files were put in their place before."""

    came: bool = False
    n_renames: int = 0


@contextmanager
def killed_before(rename: int | None) -> Iterator[Kill]:
    """The process dies right before the given rename, counted from 0, if it gets there."""
    kill, replace = Kill(), os.replace

    def counted(*names: object) -> None:
        if kill.came or kill.n_renames == rename:
            kill.came = True
            raise Killed
        kill.n_renames += 1
        replace(*names)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", counted)
        with suppress(Killed):
            yield kill


@dataclass
class History:
    """A world and what has happened to it."""

    world: WrittenWorld
    files: list[tuple[str, Path]] = field(default_factory=list)
    step: int = 0
    closed_at: dict[datetime, dict[str, str]] = field(default_factory=dict)
    """The bytes of every close that was not killed, by the instant up to which it knew."""

    @property
    def now(self) -> datetime:
        return OVER + timedelta(days=2 * self.step)

    def play(self, happening: Sequence[Event]) -> None:
        """Let everything happen, then close what is stale."""
        for event in happening:
            self.step += 1
            match event:
                case Landing():
                    self._land(event)
                case Again():
                    if self.files:
                        self._hand_in(*self.files[event.number % len(self.files)])
                case Close():
                    with killed_before(event.killed_at):
                        self.close()
        self.step += 1
        for name, path in self.files:
            self._hand_in(name, path)
        self.close()

    def _land(self, event: Landing) -> None:
        path = self.world.root / f"{event.feed}-{self.step}.csv"
        outputs = self.world.lake.read(tables.PUBLISHED_OUTPUTS, NAME, columns=["output_id", "cycle"]).to_pylist()
        lines = ["output_id,day,sends,replies"]
        for number, day, sends, replies in event.rows:
            output = outputs[number % len(outputs)]
            lines.append(f"{output['output_id']},{output['cycle'] + timedelta(days=day)},{sends},{replies}")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.files.append((event.feed, path))
        with killed_before(event.killed_at):
            self._hand_in(event.feed, path)

    def _hand_in(self, feed: str, path: Path) -> None:
        land_file(self.world.lake, self.world.spec, feed, path, recorded_at=self.now)

    def close(self) -> None:
        """Close what is due in one go, and remember its bytes."""
        due = correction_due(self.world.lake, self.world.spec)
        if due is not None:
            close(self.world, due.first)
        self.closed_at[self.now] = close_bytes(self.world)


def close(world: WrittenWorld, first: object = CYCLES[0], cutoff: datetime | None = None) -> None:
    """Close the cycles from `first` to the last, with what was known at `cutoff`."""
    flywheel, recorder = world.flywheel, Recorder(world.lake, NAME)
    cycles = list(cycle_range(first, CYCLES[-1], flywheel.spec.cadence))  # type: ignore[arg-type]
    closing.measure(flywheel, recorder, cycles, cutoff)
    closing.score(flywheel, recorder, cycles)
    closing.fit_model(flywheel, recorder, cycles)
    closing.choose_references(flywheel, recorder, cycles)
    closing.compare(flywheel, recorder, cycles)
    closing.gate(flywheel, recorder, cycles)
    closing.refresh_prompts(flywheel, recorder, cycles)
    weigh(flywheel, recorder, cycles)


def close_bytes(world: WrittenWorld, *more: str) -> dict[str, str]:
    """The hash of every file that a close writes."""
    kept = (*CLOSE_TABLES, *more)
    return {path: digest for path, digest in fingerprint(world.paths.lake).items() if Path(path).parts[0] in kept}


def published_world(root: Path) -> WrittenWorld:
    """Three cycles, opened, measured a little, and closed."""
    # Made-up numbers are no honest traffic: the rule that holds implausible rows has tests of its own.
    mailer = {**SETTINGS["feeds"]["mailer"], "hold_implausible": False}
    feeds = {**SETTINGS["feeds"], MAILER: mailer, REPLACING: {**mailer, "path": "exports/*.csv"}}
    feeds[REPLACING]["corrections"] = "replace_range"
    world = WrittenWorld.make(root, feeds=feeds, measurement_window=2)
    stage = PlainStage(world.flywheel, world.lake, DirectWriters(), world.paths.outbox)
    play(Season.of(world.flywheel, len(CYCLES), world.audience()), stage, world.lake, world.paths)
    return world


def copy_of(world: WrittenWorld, root: Path) -> WrittenWorld:
    """A copy by hard links: files of a lake are replaced and never written to."""
    shutil.copytree(world.root, root, copy_function=os.link)
    return WrittenWorld(root)


def without_closes(world: WrittenWorld, root: Path) -> WrittenWorld:
    """A copy with the ledgers and what was published, and nothing that a close wrote."""
    copy = copy_of(world, root)
    for name in (*CLOSE_TABLES, "restatements"):
        shutil.rmtree(copy.paths.lake / name, ignore_errors=True)
    for consumer in (copy.paths.lake / "input_versions").rglob("consumer=*"):
        if consumer.name.removeprefix("consumer=") in CLOSE_TABLES:
            shutil.rmtree(consumer)
    return copy
