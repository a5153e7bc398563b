"""What became of a table's columns, from one version of its contract to the next.

A table's version is the number of its declared changes, and every file says by which version it was written. Changes
are only ever added at the end: files of all earlier versions stay where they are and are brought to today's columns
when they are read. Here: the kinds of changes, as data, the columns that each version had, and where a column's values
stand in older files. Not here: doing it with rows (`migration`) or in SQL (`layer_views`), and the record of all
versions that the contracts are held to (`recorded`).

Key columns of a table, its partitions and whether it is a ledger cannot change: that takes a new table.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flywheel_pipelines.errors import ContractError

Fill = str | int | float | bool | tuple[()] | None


@dataclass(frozen=True)
class Added:
    """A column is new; files without it read as if it held `fill` in every row.

    `fill` is null exactly when the column may be null; `()` is an empty list.
    """

    column: str
    fill: Fill = None


@dataclass(frozen=True)
class Renamed:
    """A column has another name. What it holds is the same: for another meaning, drop one and add one."""

    old: str
    new: str


@dataclass(frozen=True)
class Dropped:
    """A column is gone: its type, and whether it could be null. Older files keep it, unread."""

    column: str
    kind: pa.DataType
    nullable: bool = False


@dataclass(frozen=True)
class Widened:
    """A column's type became one that every earlier value fits into unchanged; `was` is the type before."""

    column: str
    was: pa.DataType


@dataclass(frozen=True)
class Loosened:
    """A column may be null from now on."""

    column: str


Change = Added | Renamed | Dropped | Widened | Loosened


@dataclass(frozen=True)
class Lineage:
    """Where the values of one of today's columns stand in files of each version.

    Attributes:
        names: its names, newest first, each with the version from which on it had it.
        added: the version that brought it; None when it was always there.
        fill: its value in files of before that.
    """

    names: tuple[tuple[str, int], ...]
    added: int | None = None
    fill: Fill = None

    def name_at(self, version: int) -> str | None:
        """What a file of a version calls the column; None when it has none."""
        if self.added is not None and version < self.added:
            return None
        return next(name for name, since in self.names if since <= version)

    def name_among(self, names: Collection[str]) -> str | None:
        """The newest of its names that a file has, whose version is not known; None when it has none of them."""
        return next((name for name, _ in self.names if name in names), None)


@dataclass(frozen=True)
class History:
    """A contract's columns by version, oldest first, and the lineage of each of today's columns."""

    schemas: tuple[pa.Schema, ...]
    lineages: dict[str, Lineage]


def history_of(table: str, schema: pa.Schema, changes: Sequence[Change]) -> History:
    """What a table's declared changes amount to.

    Raises:
        ContractError: they do not lead to today's columns, or use a name twice; the change is named.
    """
    schemas = [schema]
    for number in range(len(changes), 0, -1):
        schemas.insert(0, _before(table, number, schemas[0], changes[number - 1]))
    _refuse_reused_names(table, schemas[0], changes)
    lineages = {name: _lineage(name, changes) for name in schema.names}
    for name, lineage in lineages.items():
        _refuse_ambiguous_fill(table, name, lineage, schemas)
    return History(tuple(schemas), lineages)


def widens(found: pa.DataType, expected: pa.DataType) -> bool:
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
            found.value_type == expected.value_type or widens(found.value_type, expected.value_type)
        )
    return (pa.types.is_large_string(found) or pa.types.is_string_view(found)) and pa.types.is_string(expected)


def _before(table: str, number: int, schema: pa.Schema, change: Change) -> pa.Schema:
    """The columns before a change, given those behind it."""
    place = f"Table {table}, change {number} ({change})"
    if isinstance(change, Dropped):
        if change.column in schema.names:
            raise ContractError(
                f"{place}: the column is still among the columns. Take it out, or take back the change."
            )
        return schema.append(pa.field(change.column, change.kind, change.nullable))
    name = change.new if isinstance(change, Renamed) else change.column
    if name not in schema.names:
        raise ContractError(
            f"{place}: there is no column {name} behind it; there are {', '.join(schema.names)}. Later changes stand "
            "later in the list."
        )
    at = schema.get_field_index(name)
    found = schema.field(at)
    match change:
        case Added():
            return schema.remove(at)
        case Renamed():
            return schema.set(at, found.with_name(change.old))
        case Widened():
            if change.was == found.type or not widens(change.was, found.type):
                raise ContractError(
                    f"{place}: {change.was} does not widen to {found.type}: values could be lost. Drop the column and "
                    "add another one."
                )
            return schema.set(at, found.with_type(change.was))
        case Loosened():
            if not found.nullable:
                raise ContractError(f"{place}: the column may not be null behind it. Say nullable=True of it.")
            return schema.set(at, found.with_nullable(False))


def _refuse_reused_names(table: str, first: pa.Schema, changes: Sequence[Change]) -> None:
    """In a file whose version nobody knows, a name must say which column it is."""
    used = set(first.names)
    for number, change in enumerate(changes, start=1):
        new = change.column if isinstance(change, Added) else change.new if isinstance(change, Renamed) else None
        if new in used:
            raise ContractError(
                f"Table {table}, change {number} ({change}): a column had the name {new} before, and older files still "
                "have it. Choose another name."
            )
        used |= {new} if new else set()


def _lineage(name: str, changes: Sequence[Change]) -> Lineage:
    names: list[tuple[str, int]] = []
    for number in range(len(changes), 0, -1):
        change = changes[number - 1]
        if isinstance(change, Renamed) and change.new == name:
            names.append((name, number))
            name = change.old
        elif isinstance(change, Added) and change.column == name:
            return Lineage((*names, (name, number)), number, change.fill)
    return Lineage((*names, (name, 0)))


def _refuse_ambiguous_fill(table: str, name: str, lineage: Lineage, schemas: Sequence[pa.Schema]) -> None:
    if lineage.added is None:
        return
    # DuckDB reads a column that a file lacks as null: it cannot tell that from a null that somebody wrote.
    may_be_null = schemas[-1].field(name).nullable
    if (lineage.fill is None) != may_be_null:
        found = "may be null" if may_be_null else "may not be null"
        raise ContractError(
            f"Table {table}, column {name}: it {found}, and is filled with {lineage.fill!r} in files of before it was "
            "added. Fill null into a column that may be null, and a value into one that may not."
        )
    filled(lineage.fill, schemas[-1].field(name), table, 1)


def filled(fill: Fill, of: pa.Field, table: str, n_rows: int) -> pa.Array:
    """A column of one value. Raises ContractError when the value is none of the column's type."""
    try:
        return pa.repeat(pa.scalar([] if isinstance(fill, tuple) else fill, of.type), n_rows)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ContractError(f"Table {table}, column {of.name}: {fill!r} is no {of.type} ({error}).") from None
