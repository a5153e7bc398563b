"""What a table contract is, and the check that data keeps to it.

Here: the shape of a contract, how columns are declared, and the error that names the column that drifted.
Not here: the tables themselves (`tables/`) and reading or writing them (`store.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from flywheel_pipelines.errors import ContractError

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
    """

    name: str
    layer: Layer
    description: str
    key: tuple[str, ...]
    schema: pa.Schema
    kind: Literal["table", "ledger"] = "table"
    partition_by: tuple[str, ...] = ("flywheel", "cycle")

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
        """The data in contract order and exactly the contract's types, sorted by key.

        Raises:
            ContractError: a column is missing, unknown, of another type, null where it may not be, or the key repeats.
        """
        self._check_names(data)
        arrays = [self._conform_column(field, data.column(field.name)) for field in self.schema]
        table = pa.table(arrays, schema=self.schema).combine_chunks()
        table = table.sort_by([(name, "ascending") for name in self.key])
        self._check_key(table)
        return table

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
                f"{', '.join(self.schema.names)}. Write those columns, or change the contract and migrate the lake."
            )

    def _conform_column(self, field: pa.Field, array: pa.ChunkedArray) -> pa.ChunkedArray:
        if array.type != field.type:
            if not _widens(array.type, field.type):
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


def _widens(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a cast cannot change any value: nulls, wider integers, integers to doubles, large strings."""
    if pa.types.is_null(found):
        return True
    if pa.types.is_integer(found) and pa.types.is_integer(expected):
        return found.bit_width <= expected.bit_width
    if pa.types.is_integer(found) and pa.types.is_float64(expected):
        return found.bit_width <= 32
    if pa.types.is_floating(found) and pa.types.is_float64(expected):
        return True
    if pa.types.is_list(found) or pa.types.is_large_list(found):
        return pa.types.is_list(expected) and (
            found.value_type == expected.value_type or _widens(found.value_type, expected.value_type)
        )
    return (pa.types.is_large_string(found) or pa.types.is_string_view(found)) and pa.types.is_string(expected)
