"""From the pieces of a draft to the fields of any JSON Schema.

Here: walking a schema, and which piece a field gets by its name. Not here: checking answers; that is the client's part
(`llm.answer_schema`), and this server is not to be trusted more than any other.

Statements with citations go into a list `statements` of objects with `sentence` and `citations`, a list of objects
with `passage` and `quote`. Otherwise the sentences of a draft are shared out once: fields that are named after the
opening or the call to action get these, the fields for running text get the rest in order. A schema without such a
field puts them into the summary.
"""

from __future__ import annotations

import html
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flywheel_pipelines.llm.offline.choices import YES
from flywheel_pipelines.llm.offline.grammar import WriterBrief
from flywheel_pipelines.llm.offline.writing import Writing

ROLES = {
    "title": ("title", "headline", "heading", "h1", "name", "seo_title"),
    "subject": ("subject", "subject_line", "preheader"),
    "summary": ("summary", "abstract", "description", "meta_description", "seo_description", "teaser",
                "excerpt", "lead", "standfirst"),
    "point": ("outline", "points", "bullets", "sections", "section", "key_points", "headings", "steps", "tags"),
    "opening": ("opening", "hook", "intro", "introduction"),
    "ending": ("call_to_action", "cta", "closing", "conclusion"),
    "greeting": ("greeting", "salutation"),
    "body": ("body", "text", "content", "article", "message", "messages", "paragraphs", "paragraph", "email", "emails",
             "copy", "post", "answer", "response", "sequence"),
    "confidence": ("confidence",),
    "statement": ("statements",),
    "sentence": ("sentence",),
    "citation": ("citations",),
    "passage": ("passage",),
    "quote": ("quote",),
    "link": ("link", "url", "href"),
    "keyword": ("keyword", "target_keyword", "topic"),
    "locale": ("locale", "language", "lang"),
}  # fmt: skip
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
DEFAULT_ITEMS = {"point": 4, "body": 3}
MAX_DEPTH, MAX_ITEMS = 12, 50
HTML = "_html"
"""How the name of a field ends that wants HTML."""


def fill_schema(schema: Mapping[str, Any], writing: Writing, brief: WriterBrief, rng: random.Random) -> Any:
    """A value that keeps to the schema, as far as its keywords are known, with the draft in its fields.

    Known: type, properties, items, prefixItems, enum, const, anyOf, oneOf, allOf, $ref within the schema, minItems,
    maxItems, minLength, maxLength, minimum, maximum. Not `pattern`.
    """
    return _Filling(schema, writing, brief, rng).value()


def plain_text(writing: Writing) -> str:
    """The writing without a schema: a title and two paragraphs."""
    if writing.verbatim is not None:
        return writing.verbatim
    draft = writing.draft
    return "\n\n".join([draft.title, *draft.parts(2), *writing.phrases])


@dataclass
class _Filling:
    root: Mapping[str, Any]
    writing: Writing
    brief: WriterBrief
    rng: random.Random
    body: list[str] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)
    statement: int = 0
    """Which of the draft's statements is being filled in."""

    def value(self) -> Any:
        """The answer: a first walk counts the fields of each kind, a second fills them."""
        draft = self.writing.draft
        fields = list(self._text_fields(self.root, "", "", 0))
        sentences = list(draft.sentences)
        if "ending" in fields:
            sentences.pop()
        if "opening" in fields:
            sentences.pop(0)
        self.n_body = fields.count("body")
        self.summary_is_body = self.n_body == 0
        parts = max(self.n_body, 1)
        bounds = [round(index * len(sentences) / parts) for index in range(parts + 1)]
        self.body = [" ".join(sentences[bounds[index] : bounds[index + 1]]) for index in range(parts)]
        if self.n_body == 1 and len(sentences) > 3:
            # One field for everything holds paragraphs.
            self.body = ["\n\n".join(" ".join(part) for part in _thirds(sentences))]
        self.body[-1] = " ".join([self.body[-1], *self.writing.phrases]).strip()
        return self._fill(self.root, "", "", 0)

    def _text_fields(self, schema: Mapping[str, Any], name: str, role: str, depth: int) -> Iterator[str]:
        """The roles of all text fields, in order."""
        schema, kind, role = self._seen(schema, name, role)
        if depth > MAX_DEPTH or "const" in schema or "enum" in schema:
            return
        if kind == "object":
            for key, part in schema.get("properties", {}).items():
                yield from self._text_fields(part, key, _inherited(role), depth + 1)
        elif kind == "array":
            for part in self._item_schemas(schema, role):
                yield from self._text_fields(part, name, role, depth + 1)
        elif kind == "string":
            yield role or "other"

    def _fill(self, schema: Mapping[str, Any], name: str, role: str, depth: int) -> Any:
        schema, kind, role = self._seen(schema, name, role)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._one_of(schema["enum"], name)
        if kind == "object":
            required = set(schema.get("required", ()))
            return {
                key: self._fill(part, key, _inherited(role), depth + 1)
                for key, part in schema.get("properties", {}).items()
                if depth < MAX_DEPTH or key in required
            }
        if kind == "array":
            filled = []
            for number, part in enumerate(self._item_schemas(schema, role)):
                self.statement = number if role == "statement" else self.statement
                filled.append(self._fill(part, name, role, depth + 1))
            return filled
        if kind in ("integer", "number"):
            is_drawn = name in self.writing.draft.numbers
            return self._confidence(schema) if role == "confidence" else self._number(schema, kind, is_drawn=is_drawn)
        if kind == "boolean":
            chosen = self.writing.draft.choices.get(name)
            return chosen == YES if chosen is not None else self.rng.random() < 0.5
        if kind == "null":
            return None
        text = self.writing.verbatim if self.writing.verbatim is not None else self._text(role)
        text = self._fitted(text, schema)
        return _as_html(text) if name.endswith(HTML) else text

    def _seen(self, schema: Mapping[str, Any], name: str, role: str) -> tuple[Mapping[str, Any], str, str]:
        """The schema behind references and alternatives, its type, and the role of a field of this name."""
        schema = self._resolved(schema)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        own = self.writing.draft.fills.get(name) or _ROLE_OF.get(
            name.casefold().replace("-", "_").removesuffix(HTML), ""
        )
        return schema, kind, own or role

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        for _ in range(20):
            if not isinstance(schema, Mapping):
                return {}
            options = schema.get("anyOf") or schema.get("oneOf")
            if "$ref" in schema:
                schema = self._referred(str(schema["$ref"]))
            elif options:
                schema = next((one for one in options if one.get("type") != "null"), options[0])
            elif schema.get("allOf"):
                merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
                for part in schema["allOf"]:
                    found = self._resolved(part)
                    merged = {
                        **merged,
                        **found,
                        "properties": {**merged.get("properties", {}), **found.get("properties", {})},
                    }
                return merged
            else:
                return schema
        return {}

    def _referred(self, reference: str) -> Mapping[str, Any]:
        found: Any = self.root
        for step in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(step, {}) if isinstance(found, Mapping) and step else found
        return found

    def _item_schemas(self, schema: Mapping[str, Any], role: str) -> list[Mapping[str, Any]]:
        fewest = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", max(fewest, MAX_ITEMS)))
        cited = self.writing.draft.cited
        wanted = {"statement": len(cited), "citation": 1} if cited else {}
        n = min(max(wanted.get(role, DEFAULT_ITEMS.get(role, 3)), fewest), most)
        first = list(schema.get("prefixItems", ()))[:n]
        items = schema.get("items")
        rest = items if isinstance(items, Mapping) else {"type": "string"}
        return [*first, *([rest] * (n - len(first)))]

    def _one_of(self, options: Sequence[Any], name: str) -> Any:
        """An option of an enumeration: what was chosen where it is a choice of ours, else any but null."""
        draft = self.writing.draft
        for known in (draft.choices.get(name), draft.locale if _ROLE_OF.get(name) == "locale" else None):
            if known in options:
                return known
        given = [option for option in options if option is not None] or list(options)
        return given[int(self.rng.random() * len(given))]

    def _confidence(self, schema: Mapping[str, Any]) -> float:
        """A confidence means nothing where nobody thinks; it differs, so that what rests on it can be seen at work."""
        low, high = float(schema.get("minimum", 0)), float(schema.get("maximum", 1))
        return round(low + (high - low) * self.rng.random() ** (1 / 3), 2)

    def _number(self, schema: Mapping[str, Any], kind: str, *, is_drawn: bool) -> float | int:
        lowest = schema.get("minimum", schema.get("exclusiveMinimum"))
        highest = schema.get("maximum", schema.get("exclusiveMaximum"))
        low = float(lowest if lowest is not None else min(0.0, float(highest or 0)))
        high = float(highest if highest is not None else max(low + 1, 10.0))
        step = schema.get("multipleOf", 1 if kind == "integer" else (high - low) / 4 or 1)
        value = low + (high - low) * (self.rng.random() if is_drawn else 0.5)
        value = round(value / step) * step
        value = value + step if value < low else value - step if value > high else value
        return round(value) if kind == "integer" else value

    def _text(self, role: str) -> str:
        draft = self.writing.draft
        if draft.cited and role in ("sentence", "passage", "quote"):
            # A schema that asks for more statements than there are gets the last one again.
            return str(getattr(draft.cited[min(self.statement, len(draft.cited) - 1)], role))
        number = self.taken.get(role, 0)
        self.taken[role] = number + 1
        if role == "body":
            return self._body_text(number)
        if role == "summary" and self.summary_is_body:
            return self.body[0] if number == 0 else draft.summary
        fixed = {
            "title": draft.title, "summary": draft.summary, "opening": draft.opening, "ending": draft.call_to_action,
            "greeting": draft.greeting, "link": self.brief.link, "keyword": self.brief.keyword or self.brief.title,
            "locale": draft.locale,
        }  # fmt: skip
        if role in fixed:
            return fixed[role]
        if role == "point":
            return draft.outline[number % len(draft.outline)]
        if role == "subject":
            return draft.subjects[number % len(draft.subjects)]
        return draft.spare[number % len(draft.spare)]

    def _body_text(self, number: int) -> str:
        draft = self.writing.draft
        text = self.body[number] if number < len(self.body) else ""
        text = text or draft.spare[number % len(draft.spare)]
        # Several fields for running text that come with subjects are messages.
        return f"{draft.greeting}\n\n{text}" if self.n_body > 1 and "subject" in self.taken else text

    def _fitted(self, text: str, schema: Mapping[str, Any]) -> str:
        """The text within the schema's lengths, cut after a sentence or a word."""
        fewest, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        spare, number = self.writing.draft.spare, 0
        while len(text) < fewest:
            text = f"{text} {spare[number % len(spare)]}".strip()
            number += 1
        if most is None or len(text) <= most:
            return text
        cut = text[: int(most)]
        ends = [cut.rfind(mark) + 1 for mark in (". ", "? ", "! ")]
        for end in (max(ends), cut.rfind(" ")):
            if end >= max(fewest, int(most) // 2):
                return cut[:end].rstrip()
        return cut


def _thirds(sentences: Sequence[str]) -> list[Sequence[str]]:
    bounds = [round(index * len(sentences) / 3) for index in range(4)]
    return [sentences[bounds[index] : bounds[index + 1]] for index in range(3)]


def _as_html(text: str) -> str:
    return "".join(f"<p>{html.escape(part, quote=False)}</p>" for part in text.split("\n\n") if part)


def _inherited(role: str) -> str:
    """What a field without a telling name takes over from the field around it: running text only."""
    return role if role in ("body", "point") else ""
