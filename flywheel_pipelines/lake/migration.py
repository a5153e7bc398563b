"""Bringing the rows of a file of an earlier version to today's columns.

Here: what a file says of its version, and pure functions from its columns to those of the contract. A file is read as
what its version had; a column that it lacks is an error unless a declared change fills it. Not here: the changes
themselves (`changes`), opening files (`files`), and the same in SQL (`layer_views`).

Files that say no version were written before there were any. They may be of any state up to then, so each column is
looked for under its newest name first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.changes import Dropped, filled
from flywheel_pipelines.lake.contracts import VERSION_KEY, TableContract

Metadata = Mapping[bytes, bytes] | None


def version_of(contract: TableContract, metadata: Metadata, path: Path) -> int | None:
    """The version that a file was written by; None when it says none.

    Raises:
        ContractError: it is newer than the contract, or no number.
    """
    said = (metadata or {}).get(VERSION_KEY)
    if said is None:
        return None
    if not said.isdigit():
        raise ContractError(
            f"{path}: {VERSION_KEY.decode()} is {said.decode(errors='replace')!r}, expected a whole number. It was not "
            "written by this project, or was changed since. Restore it from a backup."
        )
    if int(said) > contract.version:
        raise ContractError(
            f"{path}: is of version {int(said)} of the table {contract.name}; this version of the project knows "
            f"{contract.version}. A newer one has written it: upgrade flywheel-pipelines, or restore the backup of "
            "before the upgrade."
        )
    return int(said)


def stored_name(contract: TableContract, column: str, names: Collection[str], version: int | None) -> str | None:
    """What a file calls one of today's columns; None when a declared change fills it.

    Args:
        contract: the table's.
        column: one of its columns.
        names: the columns that the file has.
        version: that the file was written by.

    Raises:
        ContractError: the file should have the column, and does not.
    """
    lineage = contract.history.lineages[column]
    name = lineage.name_among(names) if version is None else lineage.name_at(version)
    if name is None and lineage.added is not None:
        return None
    if name is None or name not in names:
        wanted = column if name in (None, column) else f"{name} (now {column})"
        raise ContractError(
            f"is no file of {contract.name}: it has no column {wanted}; found {', '.join(names) or 'none'}. It was not "
            "written by this project, was changed since, or is older than the changes that lake/tables/ declares. "
            "Take it out of the lake and hand its content in by a feed."
        )
    return name


def stored_names(
    contract: TableContract, columns: Iterable[str], names: Collection[str], version: int | None, path: Path
) -> dict[str, str | None]:
    """By column, what a file calls it, or None where it is filled. Raises ContractError, which names the file."""
    try:
        return {column: stored_name(contract, column, names, version) for column in columns}
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from None


def migrated(
    contract: TableContract, stored: pa.Table, path: Path, columns: Iterable[str] | None = None
) -> dict[str, pa.ChunkedArray]:
    """Today's columns, from what was read from a file.

    Args:
        contract: the table's.
        stored: the columns of the file, or those of them that are needed (`stored_names`), with the file's metadata.
        path: the file, for errors.
        columns: those that are wanted; None: all, in the contract's order.

    Returns:
        By column, its values in the contract's type. Texts that were read as a dictionary stay so.

    Raises:
        ContractError: the file lacks a column, holds something else in it, or is newer than the contract.
    """
    wanted = contract.columns if columns is None else list(columns)
    version = version_of(contract, stored.schema.metadata, path)
    places = stored_names(contract, wanted, stored.column_names, version, path)
    return {
        column: _column(contract, path, stored, place, contract.schema.field(column))
        for column, place in places.items()
    }


def _column(
    contract: TableContract, path: Path, stored: pa.Table, place: str | None, field: pa.Field
) -> pa.ChunkedArray:
    if place is None:
        fill = contract.history.lineages[field.name].fill
        return pa.chunked_array([filled(fill, field, contract.name, stored.num_rows)])
    found = stored.column(place)
    if pa.types.is_dictionary(found.type) and found.type.value_type == field.type:
        return found
    try:
        return found.cast(field.type)
    except pa.ArrowException as error:
        raise ContractError(
            f"{path}: is no file of {contract.name}: column {place} is {found.type}, expected {field.type} ({error}). "
            "It was not written by this project, or was changed since. Take it out of the lake and hand its content in "
            "by a feed."
        ) from None


def migrated_schema(contract: TableContract, stored: pa.Schema, metadata: Metadata, path: Path) -> pa.Schema:
    """The columns that a file has once it is migrated; those that it should have and lacks are not among them.

    Columns that are none of the table's stay, so that whoever compares sees them.

    Raises:
        ContractError: the file is newer than the contract.
    """
    version = version_of(contract, metadata, path)
    fields, known = [], {change.column for change in contract.changes if isinstance(change, Dropped)}
    for field in contract.schema:
        try:
            place = stored_name(contract, field.name, stored.names, version)
        except ContractError:
            continue
        if place is None:
            fields.append(field)
            continue
        known.add(place)
        was = {schema.field(place).type for schema in contract.history.schemas if place in schema.names}
        kind = stored.field(place).type
        fields.append(pa.field(field.name, field.type if kind in was else kind))
    return pa.schema([*fields, *(field for field in stored if field.name not in known)])
