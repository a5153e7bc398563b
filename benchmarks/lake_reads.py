"""Reading the lake while it is written: `python -m benchmarks.lake_reads`.

A process replaces one partition over and over, as `Lake.write` does it. Meanwhile the partition is read, by DuckDB's
`read_parquet` on the file and by `Lake.read`. The share of reads that fail is counted for both. Then, with nobody
writing, the time of both for one large partition and for a window of small ones, as a close reads it; once with the
partitions that `Lake.read` remembers between reads, once without.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.measurement import Measurement, run_alone, side_by_side
from flywheel_pipelines.lake import files
from flywheel_pipelines.lake.cache import PartitionCache
from flywheel_pipelines.lake.store import PART, Lake
from flywheel_pipelines.lake.tables import BRIEFS

NAME = "lake reads"
FLYWHEEL = "f"
CYCLE = date(2026, 1, 5)
WRITER_FLAG = "--write-until-killed"


def partition(rows: int, seed: int) -> pa.Table:
    """Rows of `briefs`; random titles keep them from compressing to nothing."""
    titles = [str(number) for number in np.random.default_rng(seed).integers(0, 2**62, rows)]
    columns = {
        "brief_id": [f"{index:07d}" for index in range(rows)],
        "segment": [str(seed)] * rows,
        "title": titles,
        "locale": ["en"] * rows,
        "fields": ["{}"] * rows,
        "n_candidates": [4] * rows,
    }
    return pa.table(columns, schema=BRIEFS.schema)


def run(reads: int = 300, rows: int = 20_000, cycles: int = 104, repeats: int = 15) -> list[Measurement]:
    """Shares of failed reads against a writer, and time ratios without one."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        failures = _against_a_writer(Path(folder), reads, rows)
    found = [
        Measurement(NAME, f"{reader}: reads that failed while a writer replaced the file", share, "share", limit, notes)
        for (reader, share), limit, notes in zip(
            failures.items(), ("", "0"), (f"{reads} reads, {rows:,} rows", "one open per file"), strict=True
        )
    ]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        lake = Lake(folder)
        lake.write(BRIEFS, partition(rows, 0), flywheel=FLYWHEEL, cycle=CYCLE)
        found += _time_ratios(lake, f"one partition of {rows:,} rows", repeats)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        lake = Lake(folder)
        for number in range(cycles):
            lake.write(BRIEFS, partition(48, number), flywheel=FLYWHEEL, cycle=CYCLE + timedelta(weeks=number))
        found += _time_ratios(lake, f"a window of {cycles} cycles", repeats)
    return found


def _against_a_writer(folder: Path, reads: int, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.lake_reads", WRITER_FLAG, str(folder), str(rows)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        lake = Lake(folder)
        bare = _bare(lake)
        failed = {"DuckDB read_parquet": 0, "Lake.read": 0}
        readers: tuple[Callable[[], pa.Table], ...] = (bare, lambda: lake.read(BRIEFS, FLYWHEEL))
        for _ in range(reads):
            for name, read in zip(failed, readers, strict=True):
                failed[name] += _fails(read, rows)
    finally:
        writer.kill()
        writer.wait()
    return {name: number / reads for name, number in failed.items()}


def _fails(read: Callable[[], pa.Table], rows: int) -> bool:
    """Whether a read raised, or gave rows of two generations or too few."""
    try:
        found = read()
    except (duckdb.Error, OSError, pa.ArrowException):
        return True
    return found.num_rows != rows or len(found["segment"].unique()) != 1


def _bare(lake: Lake) -> Callable[[], pa.Table]:
    """The plainest reading there is: one connection, no order."""
    parts = f"{lake.root}/{BRIEFS.name}/flywheel={FLYWHEEL}/cycle=*/{PART}"
    columns = ", ".join(["cycle", *BRIEFS.columns])
    query = f"select {columns} from read_parquet('{parts}', hive_partitioning = true)"
    connection = duckdb.connect()
    return lambda: connection.execute(query).to_arrow_table()


def _time_ratios(lake: Lake, what: str, repeats: int) -> list[Measurement]:
    def forgetful() -> pa.Table:
        remembered, files.PROCESS_CACHE = files.PROCESS_CACHE, PartitionCache()
        try:
            return lake.read(BRIEFS, FLYWHEEL)
        finally:
            files.PROCESS_CACHE = remembered

    bare = _bare(lake)
    cold, against_cold = side_by_side(forgetful, bare, repeats)
    lake.read(BRIEFS, FLYWHEEL)
    warm, against_warm = side_by_side(lambda: lake.read(BRIEFS, FLYWHEEL), bare, repeats)
    return [
        Measurement(
            NAME,
            f"{what}: first Lake.read / read_parquet",
            cold / against_cold,
            notes="time; Lake.read opens every file once and hands rows over in the order of their key",
        ),
        Measurement(
            NAME, f"{what}: Lake.read again / read_parquet", warm / against_warm, notes="time; it remembers small files"
        ),
    ]


def _write_until_killed(folder: str, rows: int) -> None:
    lake = Lake(folder)
    generations = [partition(rows, seed) for seed in range(3)]
    for number in count():
        lake.write(BRIEFS, generations[number % 3], flywheel=FLYWHEEL, cycle=CYCLE)
        if number == 0:
            print("ready", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == [WRITER_FLAG]:
        _write_until_killed(sys.argv[2], int(sys.argv[3]))
    else:
        run_alone(run, __doc__)
