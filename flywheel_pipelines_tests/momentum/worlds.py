"""Simulated briefs whose true lift is known, and small builders of the tables that the momentum layer reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from flywheel_pipelines.lake.tables import BRIEF_OUTCOMES, PERFORMANCE_METRICS, PUBLISHED_OUTPUTS

KNOWN_AT = datetime(2026, 1, 12, tzinfo=UTC)


def published(*rows: tuple[str, str, str, float] | tuple[str, str, str, float, float]) -> pa.Table:
    """PUBLISHED_OUTPUTS from (brief, arm, output, weight[, probability])."""
    return pa.Table.from_pylist(
        [
            {
                "output_id": row[2],
                "arm": row[1],
                "brief_id": row[0],
                "segment": "politics",
                "text": f"Text of {row[2]}",
                "predicted": 0.0,
                "weight": row[3],
                "probability": row[4] if len(row) == 5 else row[3],
            }
            for row in rows
        ],
        schema=PUBLISHED_OUTPUTS.schema,
    )


def performance(values: Mapping[str, float | None], metric: str = "click_rate") -> pa.Table:
    """PERFORMANCE_METRICS of one metric from output -> value; None is an output without exposure."""
    return pa.Table.from_pylist(
        [
            {
                "output_id": output,
                "metric": metric,
                "numerator": 1000 * (value or 0),
                "exposure": 0.0 if value is None else 1000.0,
                "value": value,
                "is_mature": True,
                "known_at": KNOWN_AT,
            }
            for output, value in values.items()
        ],
        schema=PERFORMANCE_METRICS.schema,
    )


def outcomes(flywheel: np.ndarray, control: np.ndarray, prefix: str = "brief") -> pa.Table:
    """BRIEF_OUTCOMES from one value per brief and arm, NaN where the brief is not in the arm."""
    in_both = ~np.isnan(flywheel) & ~np.isnan(control)
    columns = {
        "brief_id": [f"{prefix}-{number:06d}" for number in range(len(flywheel))],
        "segment": ["politics"] * len(flywheel),
        "flywheel_value": pa.array(flywheel, from_pandas=True),
        "control_value": pa.array(control, from_pandas=True),
        "challenger_value": pa.nulls(len(flywheel), pa.float64()),
        "n_measured": [2 if both else 1 for both in in_both],
        "is_counted": [True] * len(flywheel),
        "hit": [bool(f > c) if both else None for f, c, both in zip(flywheel, control, in_both, strict=True)],
        "chance": [0.5 if both else None for both in in_both],
    }
    return pa.table(columns, schema=BRIEF_OUTCOMES.schema)


def click_counts(
    random: np.random.Generator, n_flywheel: int, n_control: int, n_both: int, lift: float, exposure: int = 3000
) -> tuple[np.ndarray, np.ndarray]:
    """Clicks per brief and arm, NaN outside the arm: flywheel briefs, of which `n_both` first, then control-only ones.

    Briefs differ by 30% around a rate of 1.5%, outputs of one brief by 25%; the flywheel multiplies the rate.
    """
    n = n_flywheel + n_control - n_both
    base = 0.015 * np.exp(random.normal(0, 0.3, n))
    arms = []
    for gain in (1 + lift, 1.0):
        outputs = np.exp(random.normal(0, 0.25, n))
        arms.append(random.binomial(exposure, np.minimum(base * outputs * gain, 1)).astype(float))
    arms[0][n_flywheel:] = np.nan
    arms[1][n_both:n_flywheel] = np.nan
    return arms[0], arms[1]
