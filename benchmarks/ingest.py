"""What landing ten million rows of metrics costs: `python -m benchmarks.ingest`.

The same CSV is landed whole (read, checked row by row, attributed, deduplicated, written cycle by cycle to a real lake,
flushed to disk) and loaded by a bare `create table as select * from read_csv` into a DuckDB file. Each runs in its own
process with two threads; they take turns, so that a busy machine slows both alike. One row in a hundred is a second
one for its output and day, and some hundreds are wrong or about nobody's output. A fifth of it has landed before, so
that the plausibility rule, measured apart, has a past to hold the file against.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measurement import Measurement, run_alone
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines.spec import FlywheelSpec, parse_spec

NAME = "ingest metrics"
FIRST = date(2026, 1, 5)
CYCLES, OUTPUTS = 10, 10_000
THREADS = 2
RECORDED_AT = datetime(2026, 12, 1, tzinfo=UTC)
MOST_TIMES, MOST_MEMORY = 2.0, 4_000
WAYS = ("bare", "land", "ruled")
SETTINGS = {
    "name": "mail",
    "start": FIRST.isoformat(),
    "producer": {"kind": "archive"},
    "metrics": {"reply_rate": {"kind": "rate", "successes": "replies", "exposure": "sends"}},
    "floor": {"metric": "reply_rate", "above": "mean", "min_exposure": 30},
}


def run(rows: int = 10_000_000, outputs: int = OUTPUTS, repeats: int = 3) -> list[Measurement]:
    """Both ways, `repeats` times in turns, and the highest memory of landing."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        root = Path(folder)
        publish(Lake(root / "published"), outputs)
        write_csv(root / "earlier.csv", rows // 5, outputs)
        _in_process("earlier", root, 0)
        facts = write_csv(root / "metrics.csv", rows, outputs)
        done = [{way: _in_process(way, root, number) for way in WAYS} for number in range(repeats)]
    ratios = [one["land"]["seconds"] / one["bare"]["seconds"] for one in done]
    seconds = {way: statistics.median(one[way]["seconds"] for one in done) for way in WAYS}
    memory = max(one[way]["megabytes"] for one in done for way in ("land", "ruled"))
    landed = done[0]["land"]
    what = f"{rows:,} rows, {facts['megabytes']:,.0f} MB; {landed['n_rows']:,} accepted, "
    what += f"{landed['n_quarantined']:,} in quarantine, {landed['n_facts']:,} facts in {landed['n_cycles']} cycles"
    past = f"against a past of {rows // 5:,} rows"
    return [
        Measurement(NAME, "land_file / bare CREATE TABLE AS", statistics.median(ratios), "x", f"{MOST_TIMES}", what),
        Measurement(NAME, "the same, processor time", _ratio(done, "land", "processor"), "x"),
        Measurement(NAME, "with the plausibility rule / bare", _ratio(done, "ruled", "seconds"), "x", notes=past),
        Measurement(NAME, "land_file", seconds["land"], "s", notes=f"{min(ratios):.2f} to {max(ratios):.2f} x"),
        Measurement(NAME, "with the plausibility rule", seconds["ruled"], "s", notes=past),
        Measurement(NAME, "bare CREATE TABLE AS, with checkpoint", seconds["bare"], "s", notes="median"),
        Measurement(NAME, "highest memory of landing", memory, "MB", f"{MOST_MEMORY:,} MB"),
    ]


def spec(*, rule: bool = True) -> FlywheelSpec:
    """The flywheel that the file is about; its plausibility rule is on, as it is by default, or off."""
    feeds = {"mailer": {"kind": "metrics", "path": "mailer/*.csv", "hold_implausible": rule}}
    return parse_spec({**SETTINGS, "feeds": feeds}, "benchmark")


def publish(lake: Lake, outputs: int) -> None:
    """Ten cycles of published outputs."""
    for number in range(CYCLES):
        text = {"arm": "flywheel", "segment": "all", "text": "Hello.", "choice": "best"}
        figures = {"predicted": 0.0, "weight": 1.0, "probability": 1.0}
        rows = [
            {**text, **figures, "output_id": _tag(number * outputs + one), "brief_id": f"b{one}"}
            for one in range(outputs)
        ]
        data = pa.Table.from_pylist(rows, schema=tables.PUBLISHED_OUTPUTS.schema)
        lake.write(tables.PUBLISHED_OUTPUTS, data, flywheel="mail", cycle=FIRST + timedelta(weeks=number))


def write_csv(path: Path, rows: int, outputs: int) -> dict[str, float]:
    """The file, in the order in which a mailer would export it: day by day."""
    n = outputs * CYCLES
    days = max(1, round(rows / 1.01 / n))
    with duckdb.connect() as connection:
        connection.execute(f"set threads = {THREADS}")
        connection.execute(
            f"""
            copy (
                with reported as (
                    select one, day, hash(one, day) as h, day * {n} + one as place, extra
                    from range({days}) as days(day), range({n}) as outputs(one), range(2) as again(extra)
                    where extra = 0 or hash(day, one) % 100 = 0
                )
                select
                    case when h % 40000 = 7 then 'nobody' || h % 97 else 'tag' || lpad(one::varchar, 10, '0') end
                        as output_id,
                    date '{FIRST}' + (one // {outputs} * 7 + day)::int as date,
                    case when h % 30000 = 3 then -5 else (20 + h % 400 + extra)::bigint end as sends,
                    h % 20 as replies
                from reported order by place + extra * {n // 2}, extra
            ) to '{path}' (header, delimiter ',')
            """
        )
    return {"megabytes": path.stat().st_size / 1e6}


def _tag(number: int) -> str:
    return f"tag{number:010d}"


def _ratio(done: list[dict[str, dict[str, float]]], way: str, of: str) -> float:
    return statistics.median(one[way][of] / one["bare"][of] for one in done)


def _in_process(way: str, root: Path, number: int) -> dict[str, float]:
    line = [sys.executable, "-m", "benchmarks.ingest", "--one", way, str(root), str(number)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=PROJECT_ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{way} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def one(way: str, root: Path, number: int) -> dict[str, float]:
    """One repetition, in this process: seconds, the highest memory, and what landed."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    ways = {"bare": lambda: _bare(root, number), "earlier": lambda: _land_earlier(root)}
    found = ways.get(way, lambda: _land(root, number, rule=way == "ruled"))()
    # Linux counts kilobytes.
    return {**found, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000}


def _bare(root: Path, number: int) -> dict[str, float]:
    started, before = time.perf_counter(), time.process_time()
    path = root / f"bare{number}.duckdb"
    with duckdb.connect(str(path), config={"threads": THREADS}) as connection:
        connection.execute("create table x as select * from read_csv($path)", {"path": str(root / "metrics.csv")})
        connection.execute("checkpoint")
    found = {"seconds": time.perf_counter() - started, "processor": time.process_time() - before}
    path.unlink()
    return found


def _land_earlier(root: Path) -> dict[str, float]:
    from flywheel_pipelines.feedback.landing import land_file

    at = RECORDED_AT - timedelta(days=1)
    return {
        "rows": land_file(Lake(root / "published"), spec(), "mailer", root / "earlier.csv", recorded_at=at)[0].n_rows
    }


def _land(root: Path, number: int, *, rule: bool) -> dict[str, float]:
    import shutil

    from flywheel_pipelines.feedback.landing import land_file

    for old in root.glob("lake*"):
        shutil.rmtree(old)
    shutil.copytree(root / "published", root / f"lake{number}")
    # Imports are not what is measured; pyarrow imports pandas, where it is installed, with its first array.
    pa.array([0])
    lake, flywheel = Lake(root / f"lake{number}"), spec(rule=rule)
    started, before = time.perf_counter(), time.process_time()
    batch, is_new = land_file(lake, flywheel, "mailer", root / "metrics.csv", recorded_at=RECORDED_AT)
    taken = time.perf_counter() - started, time.process_time() - before
    if not is_new:
        raise RuntimeError("the batch was there already")
    files = lake.files_of_batch(tables.METRIC_LEDGER, "mail", batch.batch_id).values()
    n_facts = sum(pq.read_metadata(path).num_rows for path in files)
    counts = {"n_rows": batch.n_rows, "n_quarantined": batch.n_quarantined, "n_cycles": len(batch.cycles)}
    return {"seconds": taken[0], "processor": taken[1], "n_facts": n_facts, **counts}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        run_alone(run, __doc__)
