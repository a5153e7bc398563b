"""JSON Schema to pydantic: what an answer must look like, and the check that it does.

Here: reading a schema, the subset of JSON Schema that is understood, and the check of one answer. Not here: how the
endpoint is told (`payload`).

What is understood: objects (`properties`, `required`, `additionalProperties`), arrays (`items`, `minItems`, `maxItems`,
`uniqueItems`), strings (`minLength`, `maxLength`, `pattern`), numbers with bounds, booleans, null, `enum`, `const`,
`anyOf`, lists of types, and `$ref` into `$defs`. Any other keyword is refused, never ignored: an answer checked by half
a schema looks like one that was checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import ErrorDetails

from flywheel_pipelines.errors import SpecError

ANNOTATIONS = frozenset({"title", "description", "examples", "default", "$schema", "$id", "$comment", "deprecated"})
STRUCTURE = frozenset({"type", "enum", "const", "anyOf", "$ref", "$defs", "definitions"})
BY_TYPE: dict[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems", "uniqueItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "boolean": frozenset(),
    "null": frozenset(),
}
BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
MAX_DEPTH = 40
_STRING = re.compile(r'"(?:[^"\\]+|\\.)*"?', re.DOTALL)
_ESCAPE_OR_CONTROL = re.compile(r"\\.|[\x00-\x1f]", re.DOTALL)


class AnswerError(ValueError):
    """An answer does not keep to its schema; the text says where and how."""


class AnswerCheck:
    """The check of answers by one schema; made once, used for each answer."""

    def __init__(self, schema: Mapping[str, Any] | None, source: str = "schema") -> None:
        """Read the schema. Without one, any text is an answer.

        Raises:
            SpecError: the schema is not of the subset that is understood; the path and the keyword are named.
        """
        self._adapter: TypeAdapter[Any] | None = None
        if schema is None:
            return
        reader = _Reader(schema, source)
        if reader.resolved(schema, "#").get("type") != "object":
            raise SpecError(
                f"{source}: an answer is an object with named fields; found type {schema.get('type')!r} at the top. "
                "Wrap it: {type: object, properties: {...}, required: [...], additionalProperties: false}."
            )
        self._adapter = TypeAdapter(reader.type_of(schema, "#", 0))

    @property
    def expects_json(self) -> bool:
        """Whether there is a schema at all."""
        return self._adapter is not None

    def read(self, text: str) -> dict[str, Any]:
        """The answer as a dict; without a schema {"text": text}.

        Raises:
            AnswerError: it is not JSON, or does not keep to the schema.
        """
        if self._adapter is None:
            if not text.strip():
                raise AnswerError("the answer is empty")
            return {"text": text}
        text = _with_escapes(text)
        try:
            self._adapter.validate_json(text, strict=True)
        except ValidationError as error:
            raise AnswerError(_in_words(error.errors(include_url=False, include_context=False))) from None
        return json.loads(text)


def load_schema(path: Path | str) -> dict[str, Any]:
    """The JSON Schema in a file, checked to be one that answers can be held to.

    Raises:
        SpecError: there is no such file, it is not JSON, or it uses keywords that are not understood.
    """
    path = Path(path)
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(
            f"{path}: there is no such file. `producer.output` names a JSON Schema file, relative to the YAML."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error}). Expected a JSON Schema file in UTF-8.") from None
    except json.JSONDecodeError as error:
        raise SpecError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON ({error.msg}). Expected a JSON Schema."
        ) from None
    if not isinstance(schema, dict):
        raise SpecError(f"{path}: found a JSON {type(schema).__name__}, expected a JSON Schema, which is an object.")
    AnswerCheck(schema, str(path))
    return schema


def _with_escapes(text: str) -> str:
    """The JSON with the control characters inside its strings escaped.

    RFC 8259 asks for that, and the grammar that llama-cpp-python makes of a schema does not: there a model may write a
    line break into a string as it is. What is meant is clear, and asking again would bring another one.
    """
    if text.isprintable():
        return text
    return _STRING.sub(lambda string: _ESCAPE_OR_CONTROL.sub(_escaped, string[0]), text)


def _escaped(found: re.Match[str]) -> str:
    return found[0] if found[0][0] == "\\" else f"\\u{ord(found[0]):04x}"


class _Reader:
    """Turns one schema into types."""

    def __init__(self, root: Mapping[str, Any], source: str) -> None:
        self._root, self._source = root, source

    def refuse(self, path: str, words: str) -> SpecError:
        return SpecError(f"{self._source}, at {path}: {words}")

    def resolved(self, schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """The schema itself, or what its `$ref` points at."""
        seen: list[str] = []
        while isinstance(schema, Mapping) and "$ref" in schema:
            target = schema["$ref"]
            if not isinstance(target, str) or not re.fullmatch(r"#/(\$defs|definitions)/[^/]+", target):
                raise self.refuse(path, f"$ref {target!r} is not understood; expected #/$defs/<name> in the same file.")
            if target in seen:
                raise self.refuse(path, f"$ref {target} leads back to itself. Remove the circle.")
            seen.append(target)
            extra = sorted(schema.keys() - {"$ref", "$defs", "definitions"} - ANNOTATIONS)
            if extra:
                raise self.refuse(
                    path, f"{', '.join(extra)} beside $ref is not understood; write it into the definition."
                )
            _, section, name = target.split("/")
            found = self._root.get(section, {}).get(name)
            if found is None:
                raise self.refuse(path, f"$ref {target} points at nothing; there is no {name} below {section}.")
            schema = found
        return schema

    def type_of(self, schema: Any, path: str, depth: int) -> Any:
        """The type that takes exactly what the schema takes."""
        if depth > MAX_DEPTH:
            raise self.refuse(path, f"nested more than {MAX_DEPTH} deep, or a $ref that contains itself. Flatten it.")
        if schema is True:
            return Any
        if not isinstance(schema, Mapping):
            raise self.refuse(path, f"found {schema!r}, expected a schema, which is an object.")
        schema = self.resolved(schema, path)
        types = self._types(schema, path)
        self._check_keywords(schema, types, path)
        if "anyOf" in schema:
            return self._any_of(schema, path, depth)
        kinds = [self._typed(name, schema, path, depth) for name in types] or [Any]
        # A union is built at run time: what it is made of is only known then.
        kind: Any = kinds[0] if len(kinds) == 1 else Union[tuple(kinds)]  # noqa: UP007
        for keyword in ("enum", "const"):
            if keyword in schema:
                values = schema[keyword] if keyword == "enum" else [schema[keyword]]
                if not isinstance(values, list) or not values:
                    raise self.refuse(path, f"enum: found {values!r}, expected a list of values.")
                kind = Annotated[kind, AfterValidator(_one_of(values))]
        return kind

    def _types(self, schema: Mapping[str, Any], path: str) -> list[str]:
        found = schema.get("type", [])
        names = [found] if isinstance(found, str) else list(found) if isinstance(found, list) else [repr(found)]
        for name in names:
            if name not in BY_TYPE:
                raise self.refuse(path, f"type {name!r} is unknown; expected one of {', '.join(BY_TYPE)}.")
        return names

    def _check_keywords(self, schema: Mapping[str, Any], types: list[str], path: str) -> None:
        allowed = ANNOTATIONS | STRUCTURE | frozenset[str]().union(*(BY_TYPE[name] for name in types))
        for keyword in sorted(schema.keys() - allowed):
            needs = [name for name, words in BY_TYPE.items() if keyword in words]
            if needs:
                raise self.refuse(
                    path, f"{keyword} needs `type: {needs[0]}` beside it; without, it would not be checked."
                )
            understood = ", ".join(sorted((STRUCTURE | frozenset[str]().union(*BY_TYPE.values())) - {"definitions"}))
            raise self.refuse(
                path,
                f"the keyword {keyword} is not understood, and ignoring it would let answers through that the schema "
                f"refuses. Say it with these: {understood}.",
            )
        if "anyOf" in schema and schema.keys() & (STRUCTURE - {"anyOf", "$defs", "definitions"}):
            raise self.refuse(path, "anyOf stands beside type, enum or const; write those into each of its choices.")

    def _any_of(self, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        choices = schema["anyOf"]
        if not isinstance(choices, list) or not choices:
            raise self.refuse(path, f"anyOf: found {choices!r}, expected a list of schemas.")
        kinds = [self.type_of(choice, f"{path}/anyOf/{number}", depth + 1) for number, choice in enumerate(choices)]
        return Union[tuple(kinds)]  # noqa: UP007

    def _typed(self, name: str, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        if name == "object":
            return self._object(schema, path, depth)
        if name == "array":
            return self._array(schema, path, depth)
        if name == "string":
            return self._string(schema, path)
        if name in ("number", "integer"):
            bounds: dict[str, Any] = {
                ours: self._number(schema, theirs, path) for theirs, ours in BOUNDS.items() if theirs in schema
            }
            kind: Any = int if name == "integer" else Annotated[float, Field(allow_inf_nan=False)]
            return Annotated[kind, Field(**bounds)] if bounds else kind
        return bool if name == "boolean" else None

    def _object(self, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        others = schema.get("additionalProperties", True)
        if not isinstance(properties, Mapping):
            raise self.refuse(path, f"properties: found {properties!r}, expected an object of schemas.")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise self.refuse(path, f"required: found {required!r}, expected a list of names.")
        unknown = [name for name in required if name not in properties]
        if unknown:
            raise self.refuse(path, f"required names {', '.join(unknown)}, which properties does not describe.")
        if not isinstance(others, bool):
            if properties:
                raise self.refuse(path, "additionalProperties may be a schema only where there are no properties.")
            return dict[str, self.type_of(others, f"{path}/additionalProperties", depth + 1)]
        fields: dict[str, Any] = {}
        for number, (name, part) in enumerate(properties.items()):
            kind = self.type_of(part, f"{path}/properties/{name}", depth + 1)
            # Names in JSON need not be names in Python.
            default = ... if name in required else None
            fields[f"f{number}"] = (kind, Field(default, alias=name))
        extra = "allow" if others else "forbid"
        return create_model("Answer", __config__=ConfigDict(extra=extra, strict=True), __base__=None, **fields)

    def _array(self, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        kind: Any = list[self.type_of(schema.get("items", True), f"{path}/items", depth + 1)]
        fewest, most = self._count(schema, "minItems", path), self._count(schema, "maxItems", path)
        kind = Annotated[kind, Field(min_length=fewest, max_length=most)]
        return Annotated[kind, AfterValidator(_without_repeats)] if schema.get("uniqueItems") else kind

    def _string(self, schema: Mapping[str, Any], path: str) -> Any:
        fewest, most = self._count(schema, "minLength", path), self._count(schema, "maxLength", path)
        kind: Any = Annotated[str, Field(min_length=fewest, max_length=most)]
        if "pattern" not in schema:
            return kind
        try:
            pattern = re.compile(schema["pattern"])
        except (re.error, TypeError) as error:
            raise self.refuse(path, f"pattern {schema['pattern']!r} is not a regular expression: {error}.") from None
        return Annotated[kind, AfterValidator(_matching(pattern))]

    def _count(self, schema: Mapping[str, Any], keyword: str, path: str) -> int | None:
        found = schema.get(keyword)
        if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 0):
            raise self.refuse(path, f"{keyword}: found {found!r}, expected a whole number from 0.")
        return found

    def _number(self, schema: Mapping[str, Any], keyword: str, path: str) -> float:
        found = schema[keyword]
        if not isinstance(found, int | float) or isinstance(found, bool):
            raise self.refuse(path, f"{keyword}: found {found!r}, expected a number.")
        return found


def _plain(value: Any) -> Any:
    return value.model_dump(by_alias=True, exclude_unset=True) if isinstance(value, BaseModel) else value


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=_plain)


def _one_of(values: list[Any]) -> Callable[[Any], Any]:
    allowed = {_canonical(value) for value in values}
    shown = ", ".join(json.dumps(value, ensure_ascii=False) for value in values[:8])

    def check(value: Any) -> Any:
        if _canonical(value) not in allowed:
            raise ValueError(f"expected one of {shown}")
        return value

    return check


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.search(value):
            raise ValueError(f"expected text that matches {pattern.pattern}")
        return value

    return check


def _without_repeats(values: list[Any]) -> list[Any]:
    if len({_canonical(value) for value in values}) != len(values):
        raise ValueError("expected items that differ")
    return values


def _in_words(errors: list[ErrorDetails]) -> str:
    """The first few problems; field numbers of ours never show, since aliases are reported."""
    words = []
    for error in errors[:3]:
        where = ".".join(str(part) for part in error["loc"] if part != "Answer")
        words.append(f"{where}: {error['msg']}" if where else error["msg"])
    return "; ".join(words) + (f"; and {len(errors) - 3} more" if len(errors) > 3 else "")
