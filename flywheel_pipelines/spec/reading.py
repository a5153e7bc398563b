"""Reading a flywheel's YAML, and saying what is wrong with it.

Here: `load_spec` and `parse_spec`, whose errors name file, key, value and what is allowed. Not here: the keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.spec.explaining import UNKNOWN, description_of, key_of
from flywheel_pipelines.spec.flywheel import COMPONENT_TYPE, FlywheelSpec


def load_spec(path: Path | str) -> FlywheelSpec:
    """Read one flywheel's YAML.

    Raises:
        SpecError: naming the file, the key, the value found and what is allowed.
    """
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"{path}: no such file. Make one with: flywheel init NAME") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(document, dict) or document.get("type") != COMPONENT_TYPE:
        found = document.get("type") if isinstance(document, dict) else type(document).__name__
        raise SpecError(f"{path}: key type: found {found!r}, expected {COMPONENT_TYPE}.")
    return parse_spec(document.get("attributes") or {}, path)


def parse_spec(attributes: dict[str, Any], source: Path | str) -> FlywheelSpec:
    """Check attributes that came from `source`; raises SpecError with every problem found, one per line."""
    try:
        return FlywheelSpec.model_validate(attributes)
    except ValidationError as error:
        lines = [_explain(problem) for problem in _one_per_key(error.errors())]
        raise SpecError(f"{source}: refused.\n" + "\n".join(f"  - {line}" for line in lines)) from error


def _one_per_key(problems: Iterable[Any]) -> list[dict[str, Any]]:
    """A value that fits no branch of a union is one problem, not one per branch."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for problem in problems:
        key = tuple(key_of(problem["loc"], FlywheelSpec))
        known = found.get(key)
        if known is None:
            found[key] = dict(problem)
        else:
            known["msg"] = f"{known['msg']}, or: {problem['msg']}"
    return list(found.values())


def _explain(problem: dict[str, Any]) -> str:
    """One pydantic problem as: key, what was found, what is allowed."""
    location = key_of(problem["loc"], FlywheelSpec)
    key = ".".join(location) or "the whole file"
    message = problem["msg"].removeprefix("Value error, ")
    if message.startswith(UNKNOWN):
        return f"key {key}: {message}"
    if problem["type"] == "missing":
        return f"key {key}: missing. {description_of(problem['loc'], FlywheelSpec)}"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return message if not location else f"key {key}: {message.rstrip('.')}."
    return f"key {key}: found {problem['input']!r}. {message}. {description_of(problem['loc'], FlywheelSpec)}".rstrip()
