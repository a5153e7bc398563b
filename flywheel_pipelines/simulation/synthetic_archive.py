"""A synthetic archive of headline A/B tests, for the demo and for tests that must know the truth.

Here: simulated readers with hidden preferences, simulated traffic, and a few rows that are broken on purpose.
Not here: the headlines' grammar (`headlines`) and reading archives (`feedback.archive`). Every row says
`source=synthetic`: nothing measured here says anything about people.

The log of a headline's true click rate is

    base + topic + image + brief + choices . preference(topic, week) + taste

`preference` is shared by all topics and bent by each, and drifts week by week; it is the part that can be learned.
`taste` belongs to the single headline and cannot be learned. Sizes are those of real headline tests: within a brief
the log click rate has a standard deviation of about 0.27.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from flywheel_pipelines.simulation.headlines import FEATURES, TOPICS, Choices, coded, draw_choices, draw_story, headline

COLUMNS = ("week_of", "test", "image", "topic", "headline", "impressions", "clicks", "source")
SOURCE = "synthetic"
START = date(2024, 1, 1)

BASE_RATE = 0.014
LEARNABLE = 0.18
"""Standard deviation, within a brief, of the part of the log click rate that the choices explain."""
TASTE = 0.2
"""Standard deviation of what belongs to the single headline."""
TOPIC_SHARE = 0.5
"""How much of the preferences is each topic's own, as a share of their standard deviation."""
DRIFT = 0.08
"""Step of the weekly random walk of preferences, relative to their size; after 40 weeks about a quarter is new."""
TYPICAL_TRAFFIC = 2_500
TRAFFIC_SPREAD = 0.5
TRAFFIC_SHAPE = 30.0
"""Shape of the negative binomial that splits a brief's traffic unevenly among its headlines."""
CONCENTRATION = 8_000.0
"""Of the beta-binomial clicks: days, hours and places make clicks vary more than a coin would."""


@dataclass(frozen=True)
class BrokenRow:
    """A row broken on purpose: its number in the file, the column that is wrong, and what is wrong with it."""

    source_row: int
    field: str
    what: str


@dataclass(frozen=True)
class SyntheticArchive:
    """What was written, and the truth behind it.

    `truth` has a row per headline: test, headline, ctr (its true click rate). It is not in the file.
    """

    path: Path
    n_rows: int
    broken: tuple[BrokenRow, ...]
    truth: pa.Table


def make_synthetic_archive(
    path: Path | str,
    *,
    weeks: int = 40,
    briefs_per_week: int = 12,
    candidates_per_brief: int = 4,
    seed: int = 7,
    start: date = START,
    flat: bool = False,
    n_broken: int = 6,
) -> SyntheticArchive:
    """Write a CSV.gz of simulated headline tests; the same arguments give the same bytes.

    Args:
        path: the file to write.
        weeks: how many weeks, from the Monday `start`.
        briefs_per_week: tests per week, each with one image.
        candidates_per_brief: headlines per test.
        seed: of all draws.
        start: the first week.
        flat: readers without preferences: headlines still differ, but nothing about them can be learned.
        n_broken: rows broken on purpose, so that quarantine has something to show.
    """
    path = Path(path)
    rng = np.random.default_rng(seed)
    world = _World(rng, flat=flat)
    rows: list[list[str]] = []
    truth: list[dict[str, object]] = []
    for week in range(weeks):
        for number in range(briefs_per_week):
            test = f"w{week:03d}-{number:02d}"
            monday = (start + timedelta(weeks=week)).isoformat()
            for row, ctr in world.run_test(test, monday, candidates_per_brief):
                rows.append(row)
                truth.append({"test": test, "headline": row[4], "ctr": ctr})
        world.drift()
    broken = _break_rows(rng, rows, n_broken)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".writing-{path.name}")
    unfinished.write_bytes(_packed(rows))
    os.replace(unfinished, path)
    return SyntheticArchive(path, len(rows), broken, pa.Table.from_pylist(truth))


class _World:
    """Simulated readers: their preferences now, and how they answer a test."""

    def __init__(self, rng: np.random.Generator, *, flat: bool) -> None:
        self._rng = rng
        topics = list(TOPICS)
        own = rng.normal(size=(len(topics), len(FEATURES)))
        shared = rng.normal(size=len(FEATURES))
        raw = np.sqrt(1 - TOPIC_SHARE**2) * shared + TOPIC_SHARE * own
        # Scaled so that every seed has preferences of the same size, whichever directions it drew.
        some = np.stack([coded(draw_choices(rng)) for _ in range(2_000)])
        scale = 0.0 if flat else LEARNABLE / float(np.mean([np.std(some @ row) for row in raw]))
        self._preferences = dict(zip(topics, raw * scale, strict=True))
        self._step = DRIFT * scale
        self._topic_effect = dict(zip(topics, rng.normal(0, 0.2, len(topics)), strict=True))
        self._image_effects = rng.normal(0, 0.25, 200)

    def drift(self) -> None:
        """A week passes."""
        shared = self._rng.normal(0, self._step, len(FEATURES))
        for topic in self._preferences:
            own = self._rng.normal(0, self._step * TOPIC_SHARE, len(FEATURES))
            self._preferences[topic] = self._preferences[topic] + shared + own

    def run_test(self, test: str, monday: str, n_candidates: int) -> list[tuple[list[str], float]]:
        """The rows of one test, each with the headline's true click rate."""
        rng = self._rng
        topic = list(TOPICS)[int(rng.integers(len(TOPICS)))]
        story = draw_story(rng, topic)
        image = int(rng.integers(len(self._image_effects)))
        level = np.log(BASE_RATE) + self._topic_effect[topic] + self._image_effects[image] + rng.normal(0, 0.3)
        traffic = TYPICAL_TRAFFIC * np.exp(rng.normal(0, TRAFFIC_SPREAD))
        results = []
        for choices in _distinct_choices(rng, n_candidates):
            liking = float(coded(choices) @ self._preferences[topic])
            ctr = float(min(np.exp(level + liking + rng.normal(0, TASTE)), 0.5))
            impressions = 1 + int(rng.negative_binomial(TRAFFIC_SHAPE, TRAFFIC_SHAPE / (TRAFFIC_SHAPE + traffic)))
            clicks = int(rng.binomial(impressions, rng.beta(ctr * CONCENTRATION, (1 - ctr) * CONCENTRATION)))
            text = headline(rng, story, choices)
            row = [monday, test, f"image-{image:03d}", topic, text, str(impressions), str(clicks), SOURCE]
            results.append((row, ctr))
        return results


def _distinct_choices(rng: np.random.Generator, count: int) -> list[Choices]:
    found: dict[Choices, None] = {}
    while len(found) < count:
        found[draw_choices(rng)] = None
    return list(found)


def _break_rows(rng: np.random.Generator, rows: list[list[str]], count: int) -> tuple[BrokenRow, ...]:
    """Break rows in place, one way after the other; returns which and how."""
    ways = (
        ("clicks", "more clicks than impressions", lambda row: [*row[:6], str(int(row[5]) + 1), *row[7:]]),
        ("impressions", "negative", lambda row: [*row[:5], "-1", "0", *row[7:]]),
        ("impressions", "not a number", lambda row: [*row[:5], "n/a", *row[6:]]),
        ("headline", "empty", lambda row: [*row[:4], "", *row[5:]]),
        ("week_of", "no such day", lambda row: ["2024-02-31", *row[1:]]),
        ("(row)", "a cell is missing", lambda row: row[:3] + row[4:]),
    )
    chosen = sorted(rng.choice(len(rows), size=min(count, len(rows)), replace=False).tolist())
    broken = []
    for index, position in enumerate(chosen):
        field, what, change = ways[index % len(ways)]
        rows[position] = change(rows[position])
        broken.append(BrokenRow(position + 1, field, what))
    return tuple(broken)


def _packed(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    # mtime=0: gzip would otherwise write the clock into the file.
    return gzip.compress(text.getvalue().encode(), mtime=0)
