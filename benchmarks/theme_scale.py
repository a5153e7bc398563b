"""One cycle of very many simulated tickets, from the inbox to the report: `python -m benchmarks.themes --tickets N`.

Through a lake, as a run does it, offline: landing (with personal data masked), sorting with a control beside it,
naming, checks, library, trends, fixes, report. A first small cycle founds the library. Not here: whether themes are
right (`themes`).
"""

from __future__ import annotations

import csv
import os
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "name": "support",
    "start": "2026-01-05",
    "is_synthetic": True,
    "producer": {"kind": "llm", "model": "gpt-5-mini"},
    "review": "optional",
    "feeds": {
        "desk": {
            "kind": "tickets",
            "path": "support/*.csv",
            "columns": {"ticket_id": "id", "created_at": "opened", "text": "message", "segment": "product"},
        },
        "releases": {"kind": "fixes", "path": "releases/*.csv"},
    },
}


def play_at_scale(n_tickets: int) -> dict[str, float]:
    """Seconds of each step, those of the processor, and gigabytes at the peak, for a cycle after a first small one."""
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.spec import InsightSpec

    spec = InsightSpec.model_validate(SPEC)
    told: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store, inbox = Lake(root / "lake"), root / "inbox"
        first, second = spec.start, spec.start.fromordinal(spec.start.toordinal() + 7)
        deliver(inbox, 1, 700)
        _timed_cycle(spec, store, root, first)
        told["n_tickets"] = deliver(inbox, 2, n_tickets)
        told |= _timed_cycle(spec, store, root, second)
    told["seconds"] = round(sum(value for name, value in told.items() if name not in ("n_tickets", "cpu")), 1)
    told["peak_gigabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return told


def deliver(inbox: Path, cycle: int, n_tickets: int) -> int:
    """Write a cycle's tickets as a help desk exports them; returns how many there are."""
    from flywheel_pipelines.simulation.tickets import TicketWorld, WorldSettings

    world = TicketWorld(1, settings=WorldSettings(n_tickets=n_tickets, volume_noise=0.0))
    path = inbox / "support" / f"{cycle}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    n = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "opened", "message", "product"])
        for ticket, _ in world.tickets(cycle):
            writer.writerow([ticket.ticket_id, world.when(ticket).isoformat(), ticket.text, "shop"])
            n += 1
    # A file is ready some time after its last change.
    os.utime(path, (NOW.timestamp() - 3_600, NOW.timestamp() - 3_600))
    return n


def _timed_cycle(spec: Any, store: Any, root: Path, cycle: Any) -> dict[str, float]:
    from flywheel_pipelines.feedback.landing import land_file
    from flywheel_pipelines.loop.inbox import find_files
    from flywheel_pipelines.loop.insight.checking import personal_data_left, quotes_not_verbatim
    from flywheel_pipelines.loop.insight.following import follow_trends, judge_fixes, keep_library
    from flywheel_pipelines.loop.insight.measuring import measure_learning
    from flywheel_pipelines.loop.insight.sorting import sort_tickets
    from flywheel_pipelines.loop.recorder import Recorder
    from flywheel_pipelines.loop.writing import writers_from_environment
    from flywheel_pipelines.report.themes import write_theme_report

    def land() -> None:
        for file in find_files(spec, root / "inbox", NOW.timestamp()).ready:
            land_file(store, spec, file.feed, file.path, recorded_at=NOW, source=file.name)

    recorder = Recorder(store, spec.name)
    writers = writers_from_environment({}, root / "journal", NOW)
    steps: dict[str, Callable[[], object]] = {
        "landing": land,
        "sorting": lambda: sort_tickets(spec, recorder, [cycle], writers),
        "checks": lambda: [*quotes_not_verbatim(spec, store, cycle), *personal_data_left(spec, store, cycle)],
        "library": lambda: keep_library(spec, recorder, [cycle]),
        "trends": lambda: follow_trends(spec, recorder, [cycle]),
        "fixes": lambda: judge_fixes(spec, recorder, [cycle]),
        "learning": lambda: measure_learning(spec, recorder, [cycle]),
        "report": lambda: write_theme_report(spec, store, cycle, root / "reports"),
    }
    seconds, cpu = {}, 0.0
    for name, step in steps.items():
        started, worked = time.perf_counter(), time.process_time()
        step()
        seconds[name] = round(time.perf_counter() - started, 1)
        cpu += time.process_time() - worked
    return seconds | {"cpu": round(cpu, 1)}
