"""Every benchmark, one table: `python -m benchmarks [--archive PATH] [--json] [--only NAME ...]`.

With --archive, the replay runs on that archive, and the promotion benchmark, which needs real data, joins in. Each
benchmark can be run alone: `python -m benchmarks.lake_reads`, `.close_cost`, `.restatement`, `.overhead`, `.replay`,
`.publish`, `.warehouse`, `.promotion`, `.llm_throughput`, `.ingest`, `.plausibility`, `.prompt_optimiser`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks.measurement import Measurement, show

Benchmark = Callable[[], list[Measurement]]


def lake_reads() -> list[Measurement]:
    """Reading the lake while it is written."""
    from benchmarks.lake_reads import run

    return run()


def close_cost() -> list[Measurement]:
    """What closing a cycle costs."""
    from benchmarks.close_cost import run

    return run()


def publish() -> list[Measurement]:
    """What write-audit-publish costs."""
    from benchmarks.publish import run

    return run()


def warehouse() -> list[Measurement]:
    """What a long history costs the warehouse."""
    from benchmarks.warehouse import run

    return run()


def llm_throughput() -> list[Measurement]:
    """How busy the client keeps an endpoint."""
    from benchmarks.llm_throughput import run

    return run()


def restatement() -> list[Measurement]:
    """What a correction costs."""
    from benchmarks.restatement import run

    return run()


def overhead() -> list[Measurement]:
    """What Dagster adds to a close and to a restated year."""
    from benchmarks.overhead import run

    return run()


def ingest() -> list[Measurement]:
    """What landing ten million rows of metrics costs."""
    from benchmarks.ingest import run

    return run()


def plausibility() -> list[Measurement]:
    """How often honest files are held, and how many attacks."""
    from benchmarks.plausibility import run

    return run()


def prompt_optimiser() -> list[Measurement]:
    """How often a prompt optimiser adopts another prompt."""
    from benchmarks.prompt_optimiser import run

    return run()


def replay(archive: Path | None) -> list[Measurement]:
    """A whole replay."""
    from benchmarks.replay import run

    return run(archive)


def promotion(archive: Path) -> list[Measurement]:
    """What its own module asks of promotions, line by line."""
    from benchmarks.promotion import run

    return [
        Measurement(
            "promotion",
            row["name"],
            math.nan if row["found"] is None else row["found"],
            "x" if row["name"].endswith("over plain") else "share",
            row["needed"],
            ("met" if row["met"] else "not met")
            + (f", standard error {100 * row['se']:.1f} points" if row["se"] is not None else ""),
        )
        for row in run(archive, seeds=10)
        if row["what"] == "requirement"
    ]


def benchmarks(archive: Path | None) -> dict[str, Benchmark]:
    """What there is to run, by name."""
    found: dict[str, Benchmark] = {
        "lake_reads": lake_reads,
        "close_cost": close_cost,
        "restatement": restatement,
        "overhead": overhead,
        "publish": publish,
        "warehouse": warehouse,
        "llm_throughput": llm_throughput,
        "ingest": ingest,
        "plausibility": plausibility,
        "prompt_optimiser": prompt_optimiser,
        "replay": lambda: replay(archive),
    }
    if archive is not None:
        found["promotion"] = lambda: promotion(archive)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, help="a real archive of A/B tests, as `flywheel replay` reads it")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these only, e.g. --only lake_reads publish")
    arguments = parser.parse_args()
    archive = arguments.archive.resolve() if arguments.archive else None
    if archive is not None and not archive.is_file():
        parser.error(f"--archive: {archive} is not a file")
    known = benchmarks(archive)
    chosen = arguments.only or list(known)
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"--only: found {', '.join(unknown)}; there are {', '.join(known)} (promotion with --archive)")
    measurements: list[Measurement] = []
    console = Console(stderr=True)
    for number, name in enumerate(chosen, start=1):
        with console.status(f"{name} ({number} of {len(chosen)})"):
            measurements += known[name]()
    show(measurements, as_json=arguments.json)


if __name__ == "__main__":
    main()
