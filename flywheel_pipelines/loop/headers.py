"""The header of a batch of facts that the pipeline records itself. Not here: what comes from outside (`feedback`)."""

from __future__ import annotations

from datetime import date

import pyarrow as pa


def batch_header(rows: pa.Table, *, source: str, cycle: date | None) -> dict[str, object]:
    """The row of `batches` for rows of one ledger that carry the columns batch_id and recorded_at."""
    return {
        "batch_id": rows["batch_id"][0].as_py(),
        "source": source,
        "recorded_at": max(rows["recorded_at"].to_pylist()),
        "n_rows": rows.num_rows,
        "n_quarantined": 0,
        "first_cycle": cycle,
        "last_cycle": cycle,
    }
