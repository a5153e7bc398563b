"""A whole replay: `python -m benchmarks.replay [--archive PATH] [--embeddings local]`, seconds per cycle, peak memory.

It runs in a process of its own, whose peak memory the operating system keeps account of. Without an archive, on a
synthetic one. With `--embeddings local` (extra `embeddings`) every text is embedded on the way.
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
from flywheel_pipelines.spec import Embeddings

NAME = "replay"
CHILD_FLAG = "--in-this-process"
UNIT = 2**20 if sys.platform == "darwin" else 2**10
"""What ru_maxrss counts per MB: bytes on macOS, kB elsewhere."""


def run(archive: Path | None = None, weeks: int = 12, embeddings: Embeddings = "none") -> list[Measurement]:
    """Seconds per cycle and peak memory of a replay of an archive, or of a synthetic one of `weeks` weeks."""
    what = [str(archive or ""), str(weeks), embeddings]
    command = [sys.executable, "-m", "benchmarks.replay", CHILD_FLAG, *what]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    if done.returncode:
        raise RuntimeError(f"The replay failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    data = archive.name if archive else "synthetic archive"
    notes = f"{found['cycles']} cycles, {found['briefs']:,} briefs, {found['seconds']:.0f} s with publishing"
    if embeddings != "none":
        notes += f", embeddings: {embeddings}"
    # The limits are those of a replay that learns from words and style alone.
    limits = ("under 300 s in all", "under 2,048 MB") if archive and embeddings == "none" else ("", "")
    return [
        Measurement(NAME, f"{data}: time", found["seconds"] / found["cycles"], "s/cycle", limits[0], notes),
        Measurement(NAME, f"{data}: peak memory of the replay", found["peak_mb"], "MB", limits[1], "dbt apart"),
    ]


def _replay(archive: Path | None, weeks: int, embeddings: Embeddings) -> dict[str, float]:
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
            embeddings=embeddings,
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
    parser.add_argument("--embeddings", choices=("none", "local"), default="none", help="for the scoring model")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    archive = arguments.archive.resolve() if arguments.archive else None
    show(run(archive, embeddings=arguments.embeddings), as_json=arguments.json)


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD_FLAG]:
        file = Path(sys.argv[2]) if sys.argv[2] else None
        print(json.dumps(_replay(file, int(sys.argv[3]), "local" if sys.argv[4] == "local" else "none")))
    else:
        main()
