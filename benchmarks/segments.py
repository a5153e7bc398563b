"""How often a segment is said to be better when it is not: `python -m benchmarks.segments [--histories 20]`.

Histories of 12 cycles with 200 segments, of which 150 gain nothing; in the other 50 the flywheel arm is better by 40%.
Each is judged at the end of every cycle by what the loop itself says (`momentum.segments`), and beside it by what
somebody would say who looks at each segment alone: a 95% interval of its own, at the last look and at any. All of it is
simulated.

"Better" wrongly is a verdict about one of the 150 at any look; it should come up in at most 5% of histories, so that it
does in far fewer than 5% of the segments.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from scipy.stats import ttest_ind

from flywheel_pipelines.lake.tables import BRIEF_OUTCOMES
from flywheel_pipelines.momentum.segments import segment_rows

N_SEGMENTS, N_NULL, GAIN = 200, 150, 0.4
N_CYCLES, BRIEFS = 12, 10
"""Cycles, and briefs of a segment in each, half of them the control's."""
LEVEL, SPREAD = 0.05, 0.35
"""Mean of the control's values, and their standard deviation as a share of it."""
METRIC = "conversion_rate"


@dataclass(frozen=True)
class Verdicts:
    """Segments that were said to be better, of those that gain nothing and of those that do."""

    false: int
    true: int


def play(seed: int, *, n_segments: int = N_SEGMENTS, n_null: int = N_NULL) -> dict[str, Verdicts]:
    """One history, judged in each way; the first `n_null` segments gain nothing."""
    rng = np.random.default_rng(seed)
    gains = np.where(np.arange(n_segments) < n_null, 0.0, GAIN)
    said = {
        way: np.zeros(n_segments, bool) for way in ("shared error, all looks", "alone, last look", "alone, any look")
    }
    before: pa.Table | None = None
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(N_CYCLES):
        # The same rates as briefs have: skewed, and never below nothing.
        shape = 1 / SPREAD**2
        values = rng.gamma(shape, LEVEL / shape, size=(2, n_segments, BRIEFS // 2))
        values[0] *= 1 + gains[:, None]
        judged = before = segment_rows(_outcomes(values), before, metric=METRIC, better="higher")
        said["shared error, all looks"] |= np.array([(row["lower"] or -1.0) > 0 for row in judged.to_pylist()])
        seen.append((values[0], values[1]))
        ours, theirs = (np.concatenate(arm, axis=1) for arm in zip(*seen, strict=True))
        alone = np.asarray(ttest_ind(ours, theirs, axis=1, alternative="greater")[1]) < 0.025
        said["alone, any look"] |= alone
        said["alone, last look"] = alone
    return {way: Verdicts(int(better[:n_null].sum()), int(better[n_null:].sum())) for way, better in said.items()}


def _outcomes(values: np.ndarray) -> pa.Table:
    """BRIEF_OUTCOMES of one cycle; `values` is arm by segment by brief."""
    _, n_segments, n_each = values.shape
    rows = [
        {
            "brief_id": f"{segment}-{arm}-{number}",
            "segment": f"{segment:03}",
            "flywheel_value": float(values[0, segment, number]) if arm == 0 else None,
            "control_value": float(values[1, segment, number]) if arm == 1 else None,
            "challenger_value": None,
            "n_measured": 1,
            "is_counted": True,
        }
        for segment in range(n_segments)
        for arm in (0, 1)
        for number in range(n_each)
    ]
    return pa.Table.from_pylist(rows, schema=BRIEF_OUTCOMES.schema)


def main() -> None:
    """Play the histories and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=20)
    histories = [play(seed) for seed in range(parser.parse_args().histories)]
    table = Table(title=f"{len(histories)} simulated histories, {N_SEGMENTS} segments, {N_NULL} without a difference")
    for column in (
        "judged by",
        "histories with a false 'better'",
        "false 'better' per null segment",
        "true ones found",
    ):
        table.add_column(column)
    for way in histories[0]:
        false, true = (np.array([getattr(one[way], kind) for one in histories]) for kind in ("false", "true"))
        found = true.mean() / (N_SEGMENTS - N_NULL)
        table.add_row(way, f"{(false > 0).mean():.0%}", f"{false.mean() / N_NULL:.2%}", f"{found:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
