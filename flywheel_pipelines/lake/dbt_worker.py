"""dbt in a process of its own: `python -m flywheel_pipelines.lake.dbt_worker STATE ARGUMENT...`.

Here: dbt's command on a project that was parsed before (`dbt_project.py`), so that it starts without reading it again.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(state: Path, arguments: list[str]) -> int:
    """Run dbt; gives 0 when it went well, else 1, with dbt's words on standard output."""
    # Imported where it runs: a library of dbt's tries a socket when it is loaded, and no module here does that.
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest

    manifest = Manifest.from_msgpack(state.read_bytes())
    manifest.build_flat_graph()
    done = dbtRunner(manifest=manifest).invoke(arguments)
    if done.exception:
        sys.stdout.write(f"{done.exception}\n")
    return 0 if done.success else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
