"""The lift by segment."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from flywheel_pipelines.momentum.segments import segment_rows
from flywheel_pipelines_tests.momentum.worlds import outcomes

GAINS = {"flat": 1.0, "keen": 1.6}


def cycle(seed: int, segments: tuple[str, ...] = ("flat", "keen")) -> pa.Table:
    random = np.random.default_rng(seed)
    parts = []
    for segment in segments:
        control, flywheel = (0.04 * gain * np.exp(random.normal(0, 0.3, 12)) for gain in (1.0, GAINS[segment]))
        nans = np.full(12, np.nan)
        part = outcomes(np.concatenate([flywheel, nans]), np.concatenate([nans, control]), f"{segment}-{seed}")
        named = pa.array([segment] * part.num_rows, pa.string())
        field = part.schema.get_field_index("segment")
        parts.append(part.set_column(field, part.schema.field(field), named))
    return pa.concat_tables(parts)


def closed(cycles: list[pa.Table]) -> dict[str, dict]:
    rows = None
    for one in cycles:
        rows = segment_rows(one, rows, metric="rate", better="higher")
    assert rows is not None
    return {row["segment"]: row for row in rows.to_pylist()}


def test_a_lift_is_proven_in_the_segment_that_has_it_and_in_no_other() -> None:
    rows = closed([cycle(seed) for seed in range(8)])
    assert rows["keen"]["lower"] > 0
    assert rows["flat"]["lower"] < 0 < rows["flat"]["upper"]


def test_a_segment_without_briefs_in_a_cycle_keeps_its_row() -> None:
    rows = closed([cycle(1), cycle(2), cycle(3, ("flat",))])
    before = closed([cycle(1), cycle(2)])
    assert rows["keen"] == before["keen"]
    assert rows["flat"]["n_flywheel"] == 36


def test_more_segments_make_every_interval_wider() -> None:
    alone = closed([cycle(seed, ("keen",)) for seed in range(4)])
    together = closed([pa.concat_tables([cycle(seed, ("keen",)), cycle(seed, ("flat",))]) for seed in range(4)])
    assert together["keen"]["lower"] < alone["keen"]["lower"]
    assert together["keen"]["lift"] == alone["keen"]["lift"]


def test_another_metric_begins_anew() -> None:
    before = segment_rows(cycle(1), metric="rate", better="higher")
    after = segment_rows(cycle(2), before, metric="other", better="higher")
    assert set(after["n_flywheel"].to_pylist()) == {12}
