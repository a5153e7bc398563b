"""The marts as an entity-relationship diagram in Mermaid, from what the dbt project declares.

Here: which mart's rows name rows of which other, by the keys that its tests hold. Not here: the marts themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flywheel_pipelines.lake.marts import Mart

_OTHER_NAMES = {"output_id": ("reference_id", "ancestor_id")}
"""Columns that hold ids of a mart under another name."""
_EVERYWHERE = "flywheel"


def model_picture(marts: Sequence[Mart], keys: Mapping[str, Sequence[str]]) -> str:
    """The diagram: each mart with the columns of its key, and an arrow to each mart whose rows it names.

    Args:
        marts: the marts, as `read_marts` gives them.
        keys: by mart, the columns that are unique together. A mart whose key is `flywheel` and one other column is what
            that column means wherever it stands.
    """
    owners = _owners(keys)
    lines = ["erDiagram"]
    for mart in sorted(marts, key=lambda mart: mart.name):
        lines.append(f"    {mart.name} {{")
        lines += [f"        {_word(mart.columns[column][0])} {column} PK" for column in keys.get(mart.name, ())]
        lines.append("    }")
    for mart in sorted(marts, key=lambda mart: mart.name):
        lines += [f"    {mart.name} }}o--|| {owner} : {column}" for column, owner in _named(mart, owners)]
    return "\n".join(lines) + "\n"


def _owners(keys: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """By column, the mart that has one row for each of its values; of several the one that is named after it."""
    owners: dict[str, str] = {}
    for name, key in sorted(keys.items()):
        rest = [column for column in key if column != _EVERYWHERE]
        if len(rest) == 1 and (rest[0] not in owners or name == f"{rest[0]}s"):
            owners[rest[0]] = name
    return owners | {
        alias: owners[name] for name, aliases in _OTHER_NAMES.items() for alias in aliases if name in owners
    }


def _named(mart: Mart, owners: Mapping[str, str]) -> list[tuple[str, str]]:
    """Columns of a mart that name rows of others; the cycle only where nothing closer leads there."""
    found = {owners[column]: column for column in mart.columns if owners.get(column, mart.name) != mart.name}
    if len(found) > 1:
        found.pop("cycles", None)
    return sorted((column, owner) for owner, column in found.items())


def _word(kind: str) -> str:
    """A type as one word, which is all that Mermaid takes."""
    return kind.split("(")[0].replace("[]", "_list")
