"""How long definitions take to load: `python -m benchmarks.loading [--flywheels 30]`.

A folder of starter flywheels is loaded as `definitions.py` loads `defs/`, in this process, imports apart, which are
measured beside it. CPU seconds, since what else the machine does is not what is asked.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date

RESOURCES = """import dagster as dg
from dagster_duckdb import DuckDBResource
from flywheel_pipelines.components.resources import LakeResource, LlmResource

duckdb = DuckDBResource(database=":memory:")
defs = dg.Definitions(resources={"lake": LakeResource(duckdb=duckdb), "llm": LlmResource()})
"""


def measure(n_flywheels: int) -> tuple[float, float, int]:
    """CPU seconds of the imports and of loading, and the number of assets."""
    started = time.process_time()
    from dagster.components.testing import create_defs_folder_sandbox

    from flywheel_pipelines.loading import load_project
    from flywheel_pipelines.starter import starter_yaml

    imported = time.process_time()
    with create_defs_folder_sandbox() as sandbox:
        (sandbox.defs_folder_path / "resources.py").write_text(RESOURCES, encoding="utf-8")
        for number in range(n_flywheels):
            folder = sandbox.defs_folder_path / f"wheel{number}"
            folder.mkdir()
            (folder / "defs.yaml").write_text(starter_yaml(folder.name, date(2026, 1, 5)), encoding="utf-8")
        with sandbox.build_component_tree() as tree:
            ready = time.process_time()
            repository = load_project(tree).get_repository_def()
            repository.load_all_definitions()
            loaded = time.process_time()
    return imported - started, loaded - ready, len(repository.asset_graph.get_all_asset_keys())


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flywheels", type=int, default=30)
    n_flywheels = parser.parse_args().flywheels
    imports, loading, n_assets = measure(n_flywheels)
    sys.stdout.write(
        f"{n_flywheels} flywheels, {n_assets} assets: {loading:.1f} CPU s to load, imports {imports:.1f} s\n"
    )


if __name__ == "__main__":
    main()
