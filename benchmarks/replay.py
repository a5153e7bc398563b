"""A whole replay: `python -m benchmarks.replay [--archive PATH]`, seconds per cycle and peak memory.

It runs in a process of its own, whose peak memory the operating system keeps account of. Without an archive, on a
synthetic one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measurement import Measurement, show
from benchmarks.world import FLYWHEEL, temporary_data

NAME = "replay"
CHILD_FLAG = "--in-this-process"
UNIT = 2**20 if sys.platform == "darwin" else 2**10
"""What ru_maxrss counts per MB: bytes on macOS, kB elsewhere."""


def run(archive: Path | None = None, weeks: int = 12) -> list[Measurement]:
    """Seconds per cycle and peak memory of a replay of an archive, or of a synthetic one of `weeks` weeks."""
    what = [str(archive)] if archive else ["", str(weeks)]
    command = [sys.executable, "-m", "benchmarks.replay", CHILD_FLAG, *what]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    if done.returncode:
        raise RuntimeError(f"The replay failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    data = archive.name if archive else "synthetic archive"
    notes = f"{found['cycles']} cycles, {found['briefs']:,} briefs, {found['seconds']:.0f} s with publishing"
    limits = ("under 300 s in all", "under 2,048 MB") if archive else ("", "")
    return [
        Measurement(NAME, f"{data}: time", found["seconds"] / found["cycles"], "s/cycle", limits[0], notes),
        Measurement(NAME, f"{data}: peak memory of the replay", found["peak_mb"], "MB", limits[1], "dbt apart"),
    ]


def _replay(archive: Path | None, weeks: int) -> dict[str, float]:
    from flywheel_pipelines.paths import DEFS_DIR
    from flywheel_pipelines.simulation.report import replay_and_report
    from flywheel_pipelines.simulation.synthetic_archive import make_synthetic_archive
    from flywheel_pipelines.spec import load_spec

    with temporary_data() as paths:
        file = archive or make_synthetic_archive(paths.inbox / "archive.csv.gz", weeks=weeks).path
        started = time.perf_counter()
        report = replay_and_report(
            file,
            mapping_file=None,
            feedback="full",
            spec=load_spec(DEFS_DIR / FLYWHEEL / "defs.yaml"),
            paths=paths,
            is_synthetic=archive is None,
            on_cycle=lambda *_: None,
        )
        seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cycles": report.n_cycles,
        "briefs": report.summary.briefs,
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    """The most memory this process has held.

    Linux hands the peak of the process that started this one down in ru_maxrss; VmHWM is of this program alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNIT


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help="an archive that `flywheel replay` reads")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    show(run(arguments.archive.resolve() if arguments.archive else None), as_json=arguments.json)


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD_FLAG]:
        file = Path(sys.argv[2]) if sys.argv[2] else None
        print(json.dumps(_replay(file, int(sys.argv[3]) if len(sys.argv) > 3 else 0)))
    else:
        main()
