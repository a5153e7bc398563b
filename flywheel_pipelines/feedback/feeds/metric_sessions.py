"""Events that count once in a session: what was shown, taken, and ignored.

Here: from the good rows of a feed with `aggregate: sessions` to one value per output, day and measure. Not here: which
rows are good (`metric_cells`, `metric_rows`), or facts as rows of the ledger (`metric_facts`).

- A session of an output is one exposure, however often the output was shown in it, and counts on the day on which it
  was first shown: what was accepted after midnight belongs to the evening.
- Another event counts once, or as much as its column `count` says; of several such rows the lowest in the file counts,
  since telemetry is sent again when an answer was lost.
- A session with none of the events by which an output is taken is one in which it was ignored.
- Every output and day with an exposure has a value of every measure, also 0: a later file corrects all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flywheel_pipelines.feedback.feeds.metric_cells import Numbers
from flywheel_pipelines.feedback.feeds.metric_columns import COUNT, EVENT, SESSION
from flywheel_pipelines.spec import FeedSpec


@dataclass(frozen=True)
class Counted:
    """Values by output and day; arrays of one length, in the order of output and day.

    `output` is an index into the outputs, `day` counts from 1970-01-01, `source_row` is the last row that each comes
    from.
    """

    output: np.ndarray
    day: np.ndarray
    source_row: np.ndarray
    values: Mapping[str, np.ndarray]


def unshown(numbers: Numbers, feed: FeedSpec, measures: Sequence[str]) -> np.ndarray:
    """Which of the rows, shape (n,), are good but of a session in which their output was never shown."""
    rows = np.flatnonzero(numbers.fine)
    found = np.zeros(len(numbers.fine), bool)
    if len(rows):
        pair = _pairs(numbers, rows)
        shown = np.bincount(pair, weights=_is_shown(numbers, rows, feed, measures), minlength=pair.max() + 1) > 0
        found[rows] = ~shown[pair]
    return found


def counted_in_sessions(numbers: Numbers, feed: FeedSpec, measures: Sequence[str]) -> Counted:
    """The values of good rows, each of a session in which its output was shown."""
    assert feed.sessions is not None
    rows = np.flatnonzero(numbers.fine)
    pair, is_shown = _pairs(numbers, rows), _is_shown(numbers, rows, feed, measures)
    n_pairs = int(pair.max()) + 1
    output = np.empty(n_pairs, np.int64)
    output[pair] = numbers.output[rows]
    day = np.full(n_pairs, np.iinfo(np.int64).max)
    np.minimum.at(day, pair[is_shown], numbers.day[rows][is_shown])
    first_day = int(day.min())
    n_days = int(day.max()) - first_day + 1
    keys, place = np.unique(output * n_days + (day - first_day), return_inverse=True)
    source_row = np.zeros(len(keys), np.int64)
    np.maximum.at(source_row, place[pair], numbers.source_row[rows])
    values = {
        name: np.bincount(place, weights=of_pair, minlength=len(keys))
        for name, of_pair in _by_measure(numbers, rows, pair, n_pairs, feed, measures).items()
    }
    return Counted((keys // n_days).astype(np.int32), (keys % n_days + first_day).astype(np.int32), source_row, values)


def _by_measure(
    numbers: Numbers, rows: np.ndarray, pair: np.ndarray, n_pairs: int, feed: FeedSpec, measures: Sequence[str]
) -> dict[str, np.ndarray]:
    """What each session of an output counts of each measure, shape (pairs,)."""
    assert feed.sessions is not None
    event = numbers.values[EVENT][rows].astype(np.int64)
    weight = numbers.values[COUNT][rows] if COUNT in numbers.values else np.ones(len(rows))
    shown_as = feed.events[feed.sessions.shown]
    taken = {feed.events[one] for one in feed.sessions.taken} or {*feed.events.values()} - {shown_as}
    is_taken = np.zeros(n_pairs, bool)
    values = {}
    for number, name in enumerate(measures):
        mine = event == number
        of_pair = np.zeros(n_pairs)
        # Of several values for one place numpy keeps the last.
        of_pair[pair[mine]] = 1.0 if name == shown_as else weight[mine]
        values[name] = of_pair
        if name in taken:
            is_taken[pair[mine]] = True
    if feed.sessions.ignored is not None:
        values[feed.sessions.ignored] = (~is_taken).astype(float)
    return values


def _pairs(numbers: Numbers, rows: np.ndarray) -> np.ndarray:
    """A number from 0 for each output and session, shape (rows,)."""
    session = numbers.values[SESSION][rows].astype(np.int64)
    keys = numbers.output[rows].astype(np.int64) * (int(session.max()) + 1) + session
    return np.unique(keys, return_inverse=True)[1]


def _is_shown(numbers: Numbers, rows: np.ndarray, feed: FeedSpec, measures: Sequence[str]) -> np.ndarray:
    assert feed.sessions is not None
    return numbers.values[EVENT][rows] == list(measures).index(feed.events[feed.sessions.shown])
