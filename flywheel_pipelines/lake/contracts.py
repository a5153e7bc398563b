"""What a table contract is, and the check that data keeps to it.

Here: the shape of a contract, how columns are declared, and the error that names the column that drifted.
Not here: the tables themselves (`tables/`), reading or writing them (`store.py`), and files of earlier versions
(`changes.py`, `migration.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.changes import Change, History, history_of, widens

VERSION_KEY = b"flywheel.contract_version"
"""Where a file says by which version of its table's contract it was written, in its footer."""
Layer = Literal["production", "feedback", "learning", "momentum", "lake"]
PARTITION_COLUMNS = {
    "flywheel": ("VARCHAR", "Name of the flywheel: one loop, one YAML file."),
    "cycle": ("DATE", "First day of the cycle (UTC), the partition of time this row belongs to."),
}


def column(name: str, kind: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field:
    """A column with its description, which travels to DuckDB comments and the Dagster UI."""
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


@dataclass(frozen=True)
class TableContract:
    """One table of the lake.

    `partition_by` columns live in the path and not in the file. `key` columns are unique within a partition.
    A `table` partition is one file that is replaced whole; a `ledger` partition only ever gains files.
    `changes` are what became of the columns since version 0, oldest first; see `changes.py`.
    """

    name: str
    layer: Layer
    description: str
    key: tuple[str, ...]
    schema: pa.Schema
    kind: Literal["table", "ledger"] = "table"
    partition_by: tuple[str, ...] = ("flywheel", "cycle")
    changes: tuple[Change, ...] = ()

    @property
    def version(self) -> int:
        """The version of the columns, which new files are stamped with."""
        return len(self.changes)

    @cached_property
    def history(self) -> History:
        """The columns of every version. Raises ContractError when the changes do not lead to today's columns."""
        return history_of(self.name, self.schema, self.changes)

    @property
    def stamp(self) -> dict[bytes, bytes]:
        """What every file of the table says in its footer."""
        return {VERSION_KEY: str(self.version).encode()}

    @property
    def columns(self) -> list[str]:
        """Names of the columns kept in the file, in order."""
        return self.schema.names

    def describe(self, name: str) -> str:
        """The description of a column, partition columns included."""
        if name in PARTITION_COLUMNS:
            return PARTITION_COLUMNS[name][1]
        return (self.schema.field(name).metadata or {}).get(b"description", b"").decode()

    def empty(self) -> pa.Table:
        """A table with this contract's columns and no rows."""
        return self.schema.empty_table()

    def conform(self, data: pa.Table) -> pa.Table:
        """The data in contract order and exactly the contract's types, sorted by key, stamped with its version.

        Raises:
            ContractError: a column is missing, unknown, of another type, null where it may not be, or the key repeats.
        """
        self._check_names(data)
        arrays = [self._conform_column(field, data.column(field.name)) for field in self.schema]
        table = _sorted_by(pa.table(arrays, schema=self.schema).combine_chunks(), self.key)
        self._check_key(table)
        return table.replace_schema_metadata(self.stamp)

    def _check_names(self, data: pa.Table) -> None:
        expected = set(self.schema.names)
        found = [name for name in data.column_names if name not in self.partition_by]
        missing = [name for name in self.schema.names if name not in found]
        unknown = [name for name in found if name not in expected]
        if missing or unknown:
            parts = []
            if missing:
                parts.append(f"missing column(s) {', '.join(missing)}")
            if unknown:
                parts.append(f"unknown column(s) {', '.join(unknown)}")
            raise ContractError(
                f"Table {self.name}: {'; '.join(parts)}. The contract in lake/tables/ declares "
                f"{', '.join(self.schema.names)}. Write those columns, or change the contract and "
                "declare the change (lake/changes.py)."
            )

    def _conform_column(self, field: pa.Field, array: pa.ChunkedArray) -> pa.ChunkedArray:
        if array.type != field.type:
            if not widens(array.type, field.type):
                raise ContractError(
                    f"Table {self.name}, column {field.name}: found type {array.type}, the contract says {field.type}. "
                    "Convert it before writing; a silent cast could lose values."
                )
            array = array.cast(field.type)
        if not field.nullable and array.null_count:
            raise ContractError(
                f"Table {self.name}, column {field.name}: {array.null_count} of {len(array)} values are null, "
                "the contract allows none. Fill them, or quarantine those rows."
            )
        return array

    def _check_key(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        unique = table.select(list(self.key)).group_by(list(self.key)).aggregate([]).num_rows
        if unique != table.num_rows:
            raise ContractError(
                f"Table {self.name}: {table.num_rows - unique} row(s) repeat the key ({', '.join(self.key)}). "
                "Aggregate or deduplicate before writing."
            )


def _sorted_by(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """Sorted ascending; the table itself where it is so already, since long texts are dear to copy."""
    options = pc.SortOptions([(name, "ascending") for name in key])
    order = pc.call_function("sort_indices", [table], options)
    is_sorted = order.equals(pa.array(range(len(table)), order.type))
    return table if is_sorted else table.take(order)
