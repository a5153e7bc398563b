"""What a benchmark hands back, how times are taken, and the one table that all of them are printed in.

Here: nothing that knows what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

UNITS = {"x": "{:.2f} x", "share": "{:.1%}", "s": "{:.2f} s", "s/cycle": "{:.2f} s/cycle", "MB": "{:,.0f} MB"}


@dataclass(frozen=True)
class Measurement:
    """One line of the table.

    `unit` is x (a ratio of two times), share, s, s/cycle or MB; `limit` is what the value has to keep to, in words,
    where something asks for that.
    """

    benchmark: str
    compared: str
    value: float
    unit: str = "x"
    limit: str = ""
    notes: str = ""

    @property
    def shown(self) -> str:
        """The value with its unit."""
        return UNITS[self.unit].format(self.value)


def side_by_side(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of two things that take turns, so that a busy machine slows both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for taken, action in zip(times, (first, second), strict=True):
            started = time.perf_counter()
            action()
            taken.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def machine() -> dict[str, str]:
    """Facts without which no time means anything."""
    packages = ("duckdb", "dagster", "pyarrow", "dbt-core")
    # Not os.cpu_count: a container may be given fewer cores than the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu(),
        "cores": str(cores),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _cpu() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def show(measurements: Sequence[Measurement], *, as_json: bool = False) -> None:
    """Print one table, or one JSON document, with the facts of the machine."""
    facts = machine()
    if as_json:
        rows = [asdict(measurement) for measurement in measurements]
        sys.stdout.write(json.dumps({"machine": facts, "measurements": rows}, indent=2) + "\n")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("benchmark", no_wrap=True)
    table.add_column("what is compared")
    table.add_column("result", justify="right", no_wrap=True)
    table.add_column("limits and notes")
    previous = ""
    for one in measurements:
        if previous and one.benchmark != previous:
            table.add_section()
        words = [f"limit: {one.limit}"] if one.limit else []
        name = one.benchmark if one.benchmark != previous else ""
        table.add_row(name, one.compared, Text(one.shown, style="bold"), "; ".join([*words, one.notes]).strip("; "))
        previous = one.benchmark
    console = Console(highlight=False)
    console.print(table)
    console.print(Text("machine: " + ", ".join(f"{name} {value}" for name, value in facts.items()), style="dim"))


def run_alone(run: Callable[[], list[Measurement]], description: str | None) -> None:
    """The command line of one benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    show(run(), as_json=arguments.json)
