"""The keys of a spec in words: what is allowed where, what a key is for, what its default is.

Here: walking the pydantic models. Not here: the models, or reading files (`reading`).
"""

from __future__ import annotations

import difflib
import types
import typing
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails, InitErrorDetails

UNKNOWN = "unknown key"
KIND = "kind"


def detail_of(problem: ErrorDetails, root: type[BaseModel]) -> InitErrorDetails:
    """A problem as it was found, but an unknown key with the keys that are allowed.

    Of the types that pydantic has built in, since Dagster builds the error once more when it adds file and line.
    """
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        location = [str(part) for part in problem["loc"]]
        allowed = _allowed_keys(root, location[:-1])
        near = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        kind, context = "value_error", {"error": ValueError(f"{UNKNOWN}.{hint} Allowed here: {', '.join(allowed)}.")}
    return InitErrorDetails(type=kind, loc=problem["loc"], input=problem["input"], ctx=context)


def is_union_branch(part: str) -> bool:
    """Whether a part of a location names the branch of a union and no key: ('floor', 'above', 'float')."""
    return part in {"float", "int", "str"} or part.startswith(("literal[", "function-"))


def key_of(location: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    """The keys that lead to a problem, as they stand in the YAML: without the branches of unions."""
    keys: list[str] = []
    for number, part in enumerate(map(str, location)):
        models = _models_at(root, [str(before) for before in location[:number]])
        if not is_union_branch(part) and not (len(models) > 1 and _of_kind(models, part)):
            keys.append(part)
    return keys


def description_of(location: tuple[int | str, ...], root: type[BaseModel]) -> str:
    """What the key is for; an entry of a list or a mapping is described by the key that holds it."""
    parts = [str(part) for part in location if not is_union_branch(str(part))]
    for end in range(len(parts), 0, -1):
        for model in _models_at(root, parts[: end - 1]):
            field = model.model_fields.get(parts[end - 1])
            if field is not None:
                return field.description or ""
    return ""


def explain_keys(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str]]:
    """Every key of the YAML: its dotted name, its default ('required' without one), and what it means.

    Where the keys depend on `kind`, they are listed for each kind.
    """
    rows = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        nested = nested_models(field.annotation)
        for section in nested:
            inner = f"{key}.<name>." if typing.get_origin(field.annotation) is dict else f"{key}."
            if len(nested) > 1:
                inner = f"{key}({_kind_of(section)})."
            rows += explain_keys(section, inner)
        if not nested:
            default = "required" if field.is_required() else str(field.get_default(call_default_factory=True))
            rows.append((key, default, field.description or ""))
    return rows


def _models_at(root: type[BaseModel], location: list[str]) -> list[type[BaseModel]]:
    models: list[type[BaseModel]] = [root]
    for part in location:
        chosen = _of_kind(models, part) if len(models) > 1 else None
        if chosen is not None:
            models = [chosen]
            continue
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        # A part that is no field is a key of a mapping, e.g. the name of a metric: stay with its model.
        if fields:
            models = nested_models(fields[0].annotation)
    return models


def nested_models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a key can hold: several where they are told apart by `kind`, none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in {dict, list, Annotated, typing.Union, types.UnionType}:
        return [found for part in typing.get_args(annotation) for found in nested_models(part)]
    return []


def _kind_of(model: type[BaseModel]) -> str:
    field = model.model_fields.get(KIND)
    return str(typing.get_args(field.annotation)[0]) if field is not None else ""


def _of_kind(models: list[type[BaseModel]], kind: str) -> type[BaseModel] | None:
    return next((model for model in models if _kind_of(model) == kind), None)


def _allowed_keys(root: type[BaseModel], location: list[str]) -> list[str]:
    return sorted({key for model in _models_at(root, location) for key in model.model_fields})
