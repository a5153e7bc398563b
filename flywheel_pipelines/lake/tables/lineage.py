"""Which version of what each partition was computed from."""

import pyarrow as pa

from flywheel_pipelines.lake.contracts import TableContract, column
from flywheel_pipelines.lake.tables.types import DAY, TEXT

INPUT_VERSIONS = TableContract(
    name="input_versions",
    layer="lake",
    description="Which version of which partition each table was computed from: says what a correction touches.",
    key=("input_table", "input_cycle"),
    partition_by=("flywheel", "cycle", "consumer"),
    schema=pa.schema(
        [
            column("input_table", TEXT, "Table that was read; of another flywheel, flywheel/table."),
            column("input_cycle", DAY, "Cycle that was read."),
            column("input_version", TEXT, "Content hash of what was read; 'absent' when there was nothing yet."),
        ]
    ),
)
