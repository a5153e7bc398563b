"""Writes the picture and the answers of the analyst's guide, or checks them.

    python scripts/analysts_guide.py            # write them, from the published file of the data directory
    python scripts/analysts_guide.py --check    # say what differs, and leave with 1

The answers in the repository are those of `make demo`.
"""

from __future__ import annotations

import argparse
import difflib
import sys

from flywheel_pipelines.guide import GUIDE, answered, pictured, read_guide
from flywheel_pipelines.lake.dbt import dbt_manifest
from flywheel_pipelines.lake.marts import read_keys, read_marts
from flywheel_pipelines.paths import DataPaths


def main() -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    arguments = parser.parse_args()
    manifest = dbt_manifest()
    before = read_guide()
    after = answered(pictured(before, read_marts(manifest), read_keys(manifest)), DataPaths.from_environment())
    if not arguments.check:
        GUIDE.write_text(after, encoding="utf-8")
        return 0
    difference = list(
        difflib.unified_diff(before.splitlines(), after.splitlines(), "the guide", "this file", lineterm="")
    )
    sys.stdout.write(
        "\n".join(difference) + "\n" if difference else "Every answer of the guide is that of this file.\n"
    )
    return int(bool(difference))


if __name__ == "__main__":
    sys.exit(main())
