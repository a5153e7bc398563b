"""What the code server of `test_server_layout.py` serves: a job that ends at once and one that waits for a file."""

# No `from __future__ import annotations`: Dagster reads the type of an asset's context from the annotation itself.
import os
import time
from pathlib import Path

import dagster as dg

BEGAN, GO = "began", "go"
PARTITIONS = dg.StaticPartitionsDefinition(["one"])
FOLDER = "LAYOUT_FOLDER"


@dg.asset(partitions_def=PARTITIONS)
def quick() -> int:
    """Ends at once."""
    return 1


@dg.asset(partitions_def=PARTITIONS)
def waits() -> None:
    """Leaves a file, and waits for another."""
    folder = Path(os.environ[FOLDER])
    (folder / BEGAN).touch()
    while not (folder / GO).exists():
        time.sleep(0.1)


defs = dg.Definitions(
    assets=[quick, waits],
    jobs=[dg.define_asset_job(f"{asset.key.path[0]}_job", dg.AssetSelection.assets(asset)) for asset in (quick, waits)],
    executor=dg.in_process_executor,
)
