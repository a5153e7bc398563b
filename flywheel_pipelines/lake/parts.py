"""Millions of rows for a ledger: made and written cycle by cycle, quickly.

Here: the rows of one cycle as a promise, the check that they keep to the contract, and how they are encoded. Not here:
where they go and when they count (`store.Lake.append_batch`).

`TableContract.conform` sorts and looks for repeated keys, which takes longer than all the rest for millions of rows.
Whoever makes parts vouches for the key instead: the rows of one file are numbered, and one row says a measure once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.writing import write_atomically

ROW_GROUP = 1 << 20
WRITERS = 2
"""Parts that are written at the same time."""


@dataclass(frozen=True)
class LedgerPart:
    """The rows of one cycle of a ledger, without the column `cycle`; made when they are written.

    Columns of text may be dictionary-encoded, which saves hashing every value again.
    """

    cycle: date
    make: Callable[[], pa.Table]


def checked_part(ledger: TableContract, rows: pa.Table) -> pa.Table:
    """The rows, stamped, when they keep to the contract: its columns in order, its types, no null where none may be.

    Raises:
        ContractError: they do not; the column is named.
    """
    if rows.column_names != ledger.columns:
        raise ContractError(
            f"Table {ledger.name}: found the columns {', '.join(rows.column_names)}; "
            f"the contract in lake/tables/ declares {', '.join(ledger.columns)}."
        )
    for field, column in zip(ledger.schema, rows.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if kind != field.type:
            raise ContractError(
                f"Table {ledger.name}, column {field.name}: found type {kind}, the contract says {field.type}."
            )
        if column.null_count and not field.nullable:
            raise ContractError(
                f"Table {ledger.name}, column {field.name}: {column.null_count} of {len(column)} values are null, "
                "the contract allows none."
            )
    return rows.replace_schema_metadata(ledger.stamp)


def write_parts(promised: Sequence[tuple[Path, TableContract, LedgerPart]]) -> None:
    """Make, check and write parts, each to its file and some at the same time; all are on disk when this returns.

    Raises:
        ContractError: a part does not keep to the contract of its ledger; some of the others may have been written.
    """

    def write(job: tuple[Path, TableContract, LedgerPart]) -> None:
        path, ledger, part = job
        write_atomically(path, checked_part(ledger, part.make()), write_part)

    with ThreadPoolExecutor(WRITERS) as pool:
        # list: an error of a writer is raised here, before the batch is made to count.
        list(pool.map(write, promised))


def write_part(rows: pa.Table, where: Any) -> None:
    """Write rows as Parquet: dictionaries where values repeat, differences for row numbers; types read back plain."""
    growing = [name for name in rows.column_names if name == "source_row"]
    options: dict[str, Any] = {
        "use_dictionary": [name for name in rows.column_names if name not in growing],
        "column_encoding": dict.fromkeys(growing, "DELTA_BINARY_PACKED"),
        # Finding the least and the greatest text takes as long as writing; what is asked for is a range of days.
        "write_statistics": [name for name in rows.column_names if pa.types.is_date(rows.schema.field(name).type)],
    }
    with pq.ParquetWriter(where, rows.schema, compression="zstd", store_schema=False, **options) as writer:
        writer.write_table(rows, row_group_size=ROW_GROUP)
        # Without the stored schema, what stands in it is not written.
        writer.add_key_value_metadata(rows.schema.metadata or {})
