"""The record of every version that a table ever had, which the contracts are held to.

`tables/versions.json` says of each table what its columns were by version. Files of these versions may lie in some
lake, so what stands there once stays: a column that is changed without a declared change is found by comparing. Here:
making the record, and what is wrong with contracts beside it, in words. Not here: reading or writing the file
(`cli/contracts.py`), and what a change does (`changes.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.contracts import TableContract

VERSIONS_FILE = Path("flywheel_pipelines/lake/tables/versions.json")
"""Below the project's folder."""
Columns = Mapping[str, str]
"""By column, its type, and whether it may be null."""
_FIXED = {"kind": "kind", "partition_by": "partitions", "key": "key"}


def versions_text(contracts: Iterable[TableContract]) -> str:
    """The record of some contracts, as the file holds it."""
    return json.dumps({contract.name: _entry(contract) for contract in contracts}, indent=1) + "\n"


def read_record(text: str, path: Path) -> dict[str, Any]:
    """What the file holds. Raises ContractError when it is no JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ContractError(f"{path}: it cannot be read ({error}). Take it from the last commit.") from None


def undeclared(record: Mapping[str, Any], contracts: Sequence[TableContract]) -> list[str]:
    """What the contracts change about recorded versions, each with what to do; nothing when each change is declared.

    Args:
        record: what `read_record` gives.
        contracts: all of today's.
    """
    problems = [problem for contract in contracts for problem in _of_table(record.get(contract.name), contract)]
    names = {contract.name for contract in contracts}
    problems += [
        f"Table {name} is gone: its files stay in every lake, and nothing reads them. Put it back; if that is meant, "
        f"delete it from {VERSIONS_FILE.name}."
        for name in record
        if name not in names
    ]
    return problems


def _entry(contract: TableContract) -> dict[str, Any]:
    return {
        "kind": contract.kind,
        "partition_by": list(contract.partition_by),
        "key": list(contract.key),
        "versions": [
            {"change": None if number == 0 else str(contract.changes[number - 1]), "columns": _columns(schema)}
            for number, schema in enumerate(contract.history.schemas)
        ],
    }


def _columns(schema: pa.Schema) -> dict[str, str]:
    return {field.name: f"{field.type}{' or null' if field.nullable else ''}" for field in schema}


def _of_table(recorded: Mapping[str, Any] | None, contract: TableContract) -> Iterator[str]:
    if recorded is None:
        return
    try:
        entry = _entry(contract)
    except ContractError as error:
        yield str(error)
        return
    for name, word in _FIXED.items():
        if recorded[name] != entry[name]:
            yield (
                f"Table {contract.name}: its {word} was {recorded[name]} and is {entry[name]}, which no change can "
                "declare, since files of before have it otherwise. Take it back, or make a table of another name."
            )
    known, declared = recorded["versions"], entry["versions"]
    if len(known) > len(declared):
        lost = "; ".join(version["change"] for version in known[len(declared) :])
        yield (
            f"Table {contract.name}: of its changes {lost} is no longer declared, and files of version "
            f"{len(known) - 1} may lie in a lake. Put it back at its place, and declare what is new behind it."
        )
        return
    for number, version in enumerate(known):
        if version["change"] != declared[number]["change"]:
            yield (
                f"Table {contract.name}: its change {number} was {version['change']} and is "
                f"{declared[number]['change']}. Put it back, and declare what is new at the end of the list."
            )
            return
    last = len(known) - 1
    yield from _differences(contract.name, last, known[last]["columns"], declared[last]["columns"])


def _differences(table: str, version: int, before: Columns, now: Columns) -> Iterator[str]:
    """What the columns of the last recorded version were, and what the contract makes of them."""
    for name, kind in before.items():
        found = now.get(name)
        if found is None:
            words = (
                f'is gone. Declare Dropped("{name}", ...) with its type, {kind}; or, if it only has another name now, '
                f'Renamed("{name}", ...)'
            )
        elif found == kind:
            continue
        elif found == f"{kind} or null":
            words = f'may be null from now on. Declare Loosened("{name}")'
        elif kind == f"{found} or null":
            words = "may no longer be null, but files of before hold nulls. Take it back, or add another column"
        else:
            words = (
                f'was {kind} and is {found}. Declare Widened("{name}", ...) with the type before if every value fits '
                "into the new one; otherwise drop the column and add one of another name"
            )
        yield _advice(table, version, name, words)
    for name, kind in now.items():
        if name not in before:
            fill = "" if kind.endswith(" or null") else ", fill=..."
            yield _advice(table, version, name, f'({kind}) is new. Declare Added("{name}"{fill})')


def _advice(table: str, version: int, name: str, words: str) -> str:
    return (
        f"Table {table}, column {name}: it {words}, at the end of `changes` of its contract in lake/tables/ "
        f"(recorded is version {version}), and run `flywheel contracts --write`."
    )
