"""Pictures of the Dagster UI for the documentation: `python scripts/screenshots.py --data DIR [--out docs/img]`.

DIR is a data directory on which `flywheel demo` has run. The command starts the UI on it, takes the pictures in
headless Chromium and stops both again. `momentum.png` is the plot that the demo left in `DIR/reports`. Meanwhile a
backfill of twelve cycles is launched, a simulated correction is dropped into the inbox, and then a simulated export
that is nobody's, whose check stops a close; so DIR is changed by it.

Here: which page each picture shows. Not here: driving a browser (`driving.py`), or what the pages say (`components/`).
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from driving import (
    PROJECT,
    Shot,
    browser,
    launch_backfill,
    launch_run,
    runs_of,
    take,
    user_interface,
    wait_for_backfill,
    wait_for_correction,
    wait_for_run,
    wait_until,
)

from flywheel_pipelines.cli.shared import spec_named
from flywheel_pipelines.feedback.landing import measures_of
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake

LOCATION = "flywheel-pipelines"
MAX_BYTES = 300_000
CLOSING = (
    "performance_metrics", "scored_outputs", "scoring_model", "reference_corpus", "prompt_gate", "refreshed_prompt",
    "momentum",
)  # fmt: skip
BACKFILLED = 12
BROKEN = "simulated-broken.csv"


def shots(data: Path, flywheel: str) -> list[Shot]:
    """The pictures of one flywheel; the asset is shown at the last cycle that was closed."""
    cycles = Lake(data / "lake").cycles(tables.MOMENTUM, flywheel)
    if not cycles:
        raise SystemExit(f"{flywheel} has no closed cycle in {data}. Run `flywheel demo` on it first.")
    graph = urllib.parse.quote(f'group:"{flywheel}"')
    momentum, generated = (
        f"/assets/{flywheel}/{asset}?view=partitions&partition={cycles[-1]}"
        for asset in ("momentum", "generated_outputs")
    )
    return [
        Shot("asset_graph", f"/asset-groups~{graph}", (2200, 800), "refreshed_prompt", clip=(560, 270, 1597, 300)),
        Shot("momentum_asset", momentum, (1500, 1100), "lift_cumulative", clip=(240, 0, 1260, 1100)),
        Shot("generated_outputs", generated, (1500, 1000), "requests", clip=(240, 0, 1260, 1000), theme="Dark"),
    ]


def shots_of_correction(flywheel: str, last: str) -> list[Shot]:
    """The pictures that show what became of a correction; `last` is the last cycle that was closed again."""
    scores = f"/assets/{flywheel}/scored_outputs?view=partitions&partition={last}"
    sensor = f"/locations/__repository__@{LOCATION}/sensors/{flywheel}__inbox"
    return [
        Shot("inbox_sensor", sensor, (1500, 900), f"{flywheel}__inbox", clip=(240, 0, 1260, 900)),
        Shot("restatement", scores, (1500, 1100), "decisions_flipped", clip=(240, 0, 1260, 1100)),
    ]


def shot_of_backfill(backfill: str) -> Shot:
    """The picture of a backfill from the metrics on."""
    return Shot("backfill", f"/runs/b/{backfill}", (1500, 700), "12", clip=(240, 0, 1260, 560))


def shots_of_red_check(flywheel: str, run: str, feed: str) -> list[Shot]:
    """The pictures of a close that a red check has stopped."""
    checks = f"/assets/{flywheel}/performance_metrics?view=checks&checkDetail={feed}_contract"
    # Only as far as no path of this machine stands in them.
    return [
        Shot("red_check", checks, (1500, 1000), "quarantined_share", clip=(240, 0, 1260, 535)),
        Shot("stopped_run", f"/runs/{run}", (1500, 900), "RUN_FAILURE", clip=(240, 0, 1260, 366), theme="Dark"),
    ]


def break_feed(data: Path, flywheel: str) -> tuple[str, str]:
    """Put a simulated export into the inbox most of whose rows are nobody's; returns its feed and the last cycle."""
    lake, spec = Lake(data / "lake"), spec_named(flywheel)
    name, feed = next((name, feed) for name, feed in spec.feeds.items() if feed.kind == "metrics")
    cycle = lake.cycles(tables.MOMENTUM, flywheel)[-1]
    header = [feed.columns.get(column, column) for column in ("output_id", "date", *measures_of(spec))]
    path = next((data / "inbox").glob(str(feed.path))).with_name(BROKEN)
    rows = [[f"nobody-{number}", cycle, *(1 for _ in measures_of(spec))] for number in range(20)]
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    return name, cycle.isoformat()


def all_shots(base: str, data: Path, flywheel: str) -> Iterator[Shot]:
    """Every picture, each once what it shows has happened."""
    yield from shots(data, flywheel)
    closed = [cycle.isoformat() for cycle in Lake(data / "lake").cycles(tables.MOMENTUM, flywheel)]
    backfill = launch_backfill(base, [[flywheel, asset] for asset in CLOSING], closed[-BACKFILLED:])
    wait_for_backfill(base, backfill)
    yield shot_of_backfill(backfill)
    known = {run["runId"] for run in runs_of(base, f"{flywheel}__close")}
    drop_correction(data, flywheel)
    run = wait_for_correction(base, f"{flywheel}__close", known)
    yield from shots_of_correction(flywheel, run["tags"]["dagster/asset_partition_range_end"])
    feed, last = break_feed(data, flywheel)
    wait_until(lambda: _is_landed(data, flywheel, BROKEN), f"the landing of {BROKEN}", 120)
    stopped = launch_run(base, f"{flywheel}__close", last)
    wait_for_run(base, stopped)
    yield from shots_of_red_check(flywheel, stopped, feed)


def _is_landed(data: Path, flywheel: str, name: str) -> bool:
    sources = Lake(data / "lake").read(tables.BATCHES, flywheel, columns=["source"])["source"].to_pylist()
    return any(source.endswith(name) for source in sources)


def drop_correction(data: Path, flywheel: str) -> None:
    """Put a simulated correction into the inbox: half of what promoted outputs of a cycle achieved is taken back."""
    lake, spec = Lake(data / "lake"), spec_named(flywheel)
    name, feed = next((name, feed) for name, feed in spec.feeds.items() if feed.kind == "metrics")
    cycle = lake.cycles(tables.MOMENTUM, flywheel)[-3]
    scored = lake.read(tables.SCORED_OUTPUTS, flywheel, cycle).to_pylist()
    promoted = [row["output_id"] for row in scored if row["decision"] == "promote"][:3]
    days: dict[tuple[str, Any], dict[str, float]] = {}
    for row in sorted(lake.read(tables.METRIC_LEDGER, flywheel, cycle).to_pylist(), key=lambda row: row["recorded_at"]):
        if row["output_id"] in promoted:
            days.setdefault((row["output_id"], row["measured_on"]), {})[row["measure"]] = row["value"]
    measures = measures_of(spec)
    header = [feed.columns.get(column, column) for column in ("output_id", "date", *measures)]
    path = next((data / "inbox").glob(str(feed.path))).with_name("simulated-correction.csv")
    partial = path.with_name(f"{path.name}.part")
    with partial.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(header)
        for (output, day), counts in sorted(days.items()):
            halved = {**counts, spec.metric.successes: counts[spec.metric.successes] // 2}
            writer.writerow([output, day, *(int(halved[measure]) for measure in measures)])
    partial.rename(path)
    sys.stdout.write(f"{path} ({len(promoted)} outputs of {cycle}, feed {name})\n")


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data directory on which `flywheel demo` has run")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "img", help="folder for the pictures")
    parser.add_argument("--flywheel", default="outreach", help="flywheel to show")
    parser.add_argument("--port", type=int, default=3123, help="free port for the UI")
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium", help="Chromium or Chrome")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = arguments.data.resolve()
    pictures = {"momentum": (data / "reports" / f"{arguments.flywheel}_momentum.png").read_bytes()}
    with user_interface(data, arguments.port) as base, browser(arguments.browser) as page:
        for shot in all_shots(base, data, arguments.flywheel):
            pictures[shot.name] = take(page, base, shot)
    for name, png in pictures.items():
        path = arguments.out / f"{name}.png"
        path.write_bytes(png)
        too_large = f", more than {MAX_BYTES // 1000} kB: crop it" if len(png) > MAX_BYTES else ""
        sys.stdout.write(f"{path} ({len(png) // 1000} kB{too_large})\n")


if __name__ == "__main__":
    main()
