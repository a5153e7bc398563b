"""Reading a flywheel's YAML, and saying what is wrong with it.

Here: `load_spec` and `parse_spec`, and `load_section` for the files beside it, whose errors name file, key, value and
what is allowed. Not here: the keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.spec.explaining import UNKNOWN, description_of, detail_of, key_of
from flywheel_pipelines.spec.flywheel import COMPONENT_TYPE, FlywheelSpec
from flywheel_pipelines.spec.insight import INSIGHT_COMPONENT_TYPE, InsightSpec

MAKE_ONE = "Make one with: flywheel init NAME"
AnySpec = FlywheelSpec | InsightSpec
Model = TypeVar("Model", bound=BaseModel)


def component_of(path: Path) -> str | None:
    """The component that a YAML is for, as its key `type` says; None when it does not. Raises SpecError."""
    document = _read_yaml(path, MAKE_ONE)
    return document.get("type") if isinstance(document, dict) else None


def load_spec(path: Path | str) -> FlywheelSpec:
    """Read one flywheel's YAML.

    Raises:
        SpecError: naming the file, the key, the value found and what is allowed.
    """
    path = Path(path)
    return parse_spec(_attributes(path, COMPONENT_TYPE), path)


def load_insight(path: Path | str) -> InsightSpec:
    """Read one insight flywheel's YAML. Raises SpecError, as `load_spec` does."""
    path = Path(path)
    return _checked(InsightSpec, _attributes(path, INSIGHT_COMPONENT_TYPE), path)


def load_any(path: Path | str) -> AnySpec:
    """Read the YAML of a flywheel of either kind. Raises SpecError, as `load_spec` does."""
    return load_insight(path) if component_of(Path(path)) == INSIGHT_COMPONENT_TYPE else load_spec(path)


def parse_spec(attributes: dict[str, Any], source: Path | str) -> FlywheelSpec:
    """Check attributes that came from `source`; raises SpecError with every problem found, one per line."""
    return _checked(FlywheelSpec, attributes, source)


def load_section(model: type[Model], path: Path) -> Model:
    """Read a YAML that holds one section, such as a grammar.

    Raises:
        SpecError: naming the file, the key, the value found and what is allowed.
    """
    document = _read_yaml(path, "Write one, or leave out what names it")
    if not isinstance(document, dict):
        raise SpecError(f"{path}: found a {type(document).__name__}, expected keys: {', '.join(model.model_fields)}.")
    return _checked(model, document, path)


def _attributes(path: Path, component: str) -> dict[str, Any]:
    document = _read_yaml(path, MAKE_ONE)
    if not isinstance(document, dict) or document.get("type") != component:
        found = document.get("type") if isinstance(document, dict) else type(document).__name__
        raise SpecError(f"{path}: key type: found {found!r}, expected {component}.")
    return document.get("attributes") or {}


def _read_yaml(path: Path, todo: str) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"{path}: no such file. {todo}") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not readable as YAML: {error}") from error


def _checked(model: type[Model], values: dict[str, Any], source: Path | str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        said = ValidationError.from_exception_data(
            model.__name__, [detail_of(found, model) for found in error.errors()]
        )
        lines = [_explain(problem, model) for problem in _one_per_key(said.errors(), model)]
        raise SpecError(f"{source}: refused.\n" + "\n".join(f"  - {line}" for line in lines)) from error


def _one_per_key(problems: Iterable[Any], model: type[BaseModel]) -> list[dict[str, Any]]:
    """A value that fits no branch of a union is one problem, not one per branch."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for problem in problems:
        key = tuple(key_of(problem["loc"], model))
        known = found.get(key)
        if known is None:
            found[key] = dict(problem)
        else:
            known["msg"] = f"{known['msg']}, or: {problem['msg']}"
    return list(found.values())


def _explain(problem: dict[str, Any], model: type[BaseModel]) -> str:
    """One pydantic problem as: key, what was found, what is allowed."""
    location = key_of(problem["loc"], model)
    key = ".".join(location) or "the whole file"
    message = problem["msg"].removeprefix("Value error, ")
    if message.startswith(UNKNOWN):
        return f"key {key}: {message}"
    if problem["type"] == "missing":
        return f"key {key}: missing. {description_of(problem['loc'], model)}"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return message if not location else f"key {key}: {message.rstrip('.')}."
    return f"key {key}: found {problem['input']!r}. {message}. {description_of(problem['loc'], model)}".rstrip()
