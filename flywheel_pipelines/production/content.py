"""The parts of an output: their order, and the text that a reader sees.

Here: content as JSON to text and to flat columns. Not here: whether it keeps to its schema (`guardrails`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def in_schema_order(content: Any, schema: Mapping[str, Any] | None) -> Any:
    """The content with the keys of every object in the order of the schema; keys it does not name follow by name.

    Half surrogate pairs in its texts become U+FFFD: no file could hold them.
    """
    return _ordered(content, schema or {}, schema or {})


def in_fields(content: Any, names: Collection[str], change: Callable[[str], str]) -> Any:
    """The content with the texts of the fields of these names changed, at whatever depth."""
    if isinstance(content, Mapping):
        return {
            key: change(part) if key in names and isinstance(part, str) else in_fields(part, names, change)
            for key, part in content.items()
        }
    return [in_fields(part, names, change) for part in content] if isinstance(content, list) else content


def without_fields(content: Any, names: Collection[str]) -> Any:
    """The content without the fields of these names, at whatever depth."""
    if isinstance(content, Mapping):
        return {key: without_fields(part, names) for key, part in content.items() if key not in names}
    return [without_fields(part, names) for part in content] if isinstance(content, list) else content


def readable_text(content: Any) -> str:
    """What a reader sees of the content: its parts in order, without labels, apart by blank lines.

    Lists of plain values stand one below the other. Empty parts and nulls leave no trace.
    """
    if isinstance(content, Mapping):
        return _paragraphs(readable_text(part) for part in content.values())
    if isinstance(content, list):
        parts = [readable_text(part) for part in content]
        return "\n".join(part for part in parts if part) if _is_flat(content) else _paragraphs(parts)
    if content is None:
        return ""
    return content.strip() if isinstance(content, str) else json.dumps(content)


def labelled_text(content: Any) -> str:
    """The content as lines of `field: value`, for outputs that are data more than prose; parts of parts with dots.

    Lists of plain values stand on one line, empty parts and nulls leave no trace. A single field stands without label.
    """
    if not isinstance(content, Mapping) or len(content) < 2:
        return readable_text(content)
    return "\n".join(f"{name}: {value}" for name, value in _labelled(content, "") if value)


def leaves(content: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every plain value with the keys and positions (from 0) that lead to it."""
    if isinstance(content, Mapping):
        for key, part in content.items():
            yield from leaves(part, (*path, key))
    elif isinstance(content, list):
        for position, part in enumerate(content):
            yield from leaves(part, (*path, position))
    else:
        yield path, content


def _labelled(content: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, Mapping):
        for key, part in content.items():
            yield from _labelled(part, f"{name}.{key}" if name else key)
    elif isinstance(content, list) and not _is_flat(content):
        for number, part in enumerate(content, start=1):
            yield from _labelled(part, f"{name}.{number}")
    elif isinstance(content, list):
        yield name, ", ".join(filter(None, map(readable_text, content)))
    else:
        yield name, readable_text(content)


def _ordered(content: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    schema = _resolved(schema, root)
    if isinstance(content, Mapping):
        named = schema.get("properties", {})
        keys = [key for key in named if key in content] + sorted(key for key in content if key not in named)
        return {key: _ordered(content[key], named.get(key, {}), root) for key in keys}
    if isinstance(content, list):
        items = schema.get("items", {})
        return [_ordered(part, items if isinstance(items, Mapping) else {}, root) for part in content]
    # Half of a surrogate pair is valid in JSON ("\\ud83d") and in no file.
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", content) if isinstance(content, str) else content


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema behind local references (`#/$defs/...`), as far as they lead somewhere."""
    for _ in range(20):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        found: Any = root
        for step in reference[2:].split("/"):
            found = found.get(step, {}) if isinstance(found, Mapping) else {}
        schema = found
    return schema if isinstance(schema, Mapping) else {}


def _is_flat(content: list[Any]) -> bool:
    return not any(isinstance(part, Mapping | list) for part in content)


def _paragraphs(parts: Any) -> str:
    return "\n\n".join(part for part in parts if part)
