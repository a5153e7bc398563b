"""A process that rewrites one partition for ever, until it is killed: `endless_writer.py FOLDER atomic|in_place`.

Generation n is a partition whose rows all say n, so a torn or mixed partition shows.
"""

import sys
from datetime import date
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flywheel_pipelines.lake.store import PART, Lake
from flywheel_pipelines.lake.tables import BRIEFS

ROWS = 60_000
CYCLE = date(2026, 1, 5)


def generation(number: int) -> pa.Table:
    """A large partition of one generation; the random titles keep it from compressing to nothing."""
    random = np.random.default_rng(number)
    return pa.table(
        {
            "brief_id": [f"{index:06d}" for index in range(ROWS)],
            "segment": [str(number)] * ROWS,
            "title": [str(value) for value in random.integers(0, 2**62, ROWS)],
            "locale": [None] * ROWS,
            "fields": [None] * ROWS,
            "n_candidates": [number] * ROWS,
        },
        schema=BRIEFS.schema,
    )


def main(folder: str, how: str) -> None:
    """Write until killed; the first line of output says that the first generation stands."""
    lake = Lake(folder)
    prepared = [generation(number) for number in range(3)]
    for number in count():
        data = prepared[number % 3]
        if how == "atomic":
            lake.write(BRIEFS, data, flywheel="f", cycle=CYCLE)
        else:
            path = lake.partition_dir(BRIEFS, flywheel="f", cycle=CYCLE) / PART
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(data, path, compression="zstd")
        if number == 0:
            sys.stdout.write("ready\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(str(Path(sys.argv[1])), sys.argv[2])
