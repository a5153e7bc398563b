"""Reading a prompt the way a careful writer should: what stands in fences is material, what stands outside is orders.

Here: fences, briefs, and the instructions that the writer recognises. Not here: what is made of them (`writing`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from flywheel_pipelines.llm.offline.choices import NO, YES
from flywheel_pipelines.llm.offline.grammar import WriterBrief
from flywheel_pipelines.llm.offline.grammars import BUILT_IN, Grammar
from flywheel_pipelines.passages import PASSAGES, read_lines
from flywheel_pipelines.prompt_text import BRIEF_LABEL, REFERENCE_LABEL

_FENCE = re.compile(r" {0,3}(`{3,})[ \t]*([^`\n]*)$")
_KEY_LINE = re.compile(r"[-* ]{0,4}([^\W\d_][\w \-/]{0,39}?)\s*[:=]\s*(.*)$")
_LINK = re.compile(r"https?://[^\s<>\"')\]]+", re.IGNORECASE)
SUBJECT_KEYS = ("keyword", "target keyword", "keywords", "topic", "subject", "thema", "tema")
PRODUCT_KEYS = ("product", "offer", "service", "produkt", "producto")
AUDIENCE_KEYS = ("audience", "readers", "persona", "industry", "segment", "zielgruppe")
LOCALE_KEYS = ("locale", "language", "lang", "sprache", "idioma")
LINK_KEYS = ("link", "url", "landing page", "website")
TITLE_KEYS = ("title", "headline", "name", "titel", "título")
FACT_KEYS = re.compile(
    r"fact|proof|claim|evidence|figure|feature|detail|note|fakten|belege?|datos|hechos", re.IGNORECASE
)
NO_FACTS = (*TITLE_KEYS, *SUBJECT_KEYS, *PRODUCT_KEYS, *AUDIENCE_KEYS, *LOCALE_KEYS, *LINK_KEYS, PASSAGES)
LANGUAGES = {
    "english": "en", "german": "de", "deutsch": "de", "spanish": "es", "español": "es", "englisch": "en",
}  # fmt: skip

_NEGATION = r"\b(?:not|never|don'?t|avoid|no|without|nor)\b"
_QUOTED = re.compile(
    r"\b(?:include|use|add|mention) the (?:exact )?(?:phrase|words?|sentence) [\"“'‘]([^\"”’'\n]{1,200})[\"”'’]", re.I
)
_VERBATIM = re.compile(
    r"\b(?:write|say|answer|respond|reply)(?: with)? (?:only|exactly|nothing but)(?: with| the words?)? "
    r"[\"“'‘]([^\"”’'\n]{1,200})[\"”'’]",
    re.I,
)
_IN_LANGUAGE = re.compile(r"\b(?:write|answer|respond|reply)\b[^.\n]{0,40}? in (english|german|spanish)\b", re.I)


@dataclass(frozen=True)
class Orders:
    """What the text outside of fences asks for, as far as it is recognised."""

    choices: tuple[tuple[str, str], ...] = ()
    phrases: tuple[str, ...] = ()
    """To be said in these words."""
    verbatim: str | None = None
    """To be said instead of anything else."""
    language: str | None = None
    schema: Mapping[str, Any] | None = None
    """A JSON Schema that is given in words rather than as a parameter."""


@dataclass(frozen=True)
class ReadPrompt:
    """A prompt, sorted."""

    orders: Orders
    references: tuple[str, ...]
    brief: WriterBrief
    locale: str


def read_prompt(messages: Iterable[Mapping[str, Any]], grammar: Grammar = BUILT_IN) -> ReadPrompt:
    """Sort the messages of a chat (as in the OpenAI API) into orders, references and the brief.

    A fence that is never closed reaches to the end of its message. Fences with other labels are passed over. Without a
    brief in a fence, the last thing the user said is what to write about; it is an order at the same time.
    """
    outside: list[str] = []
    references: list[str] = []
    briefs: list[str] = []
    last_words = ""
    for message in messages:
        if message.get("role") == "assistant":
            continue
        text, blocks = _split(_text_of(message.get("content")))
        outside.append(text)
        if message.get("role") == "user" and text.strip():
            last_words = text.strip()
        for label, block in blocks:
            if label == REFERENCE_LABEL:
                references.append(block)
            elif label == BRIEF_LABEL:
                briefs.append(block)
    orders = _read_orders("\n\n".join(outside), grammar)
    brief, locale = read_brief(briefs[-1] if briefs else last_words.splitlines()[-1] if last_words else "")
    return ReadPrompt(orders, tuple(references), brief, orders.language or locale)


def fenced_blocks(messages: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Every fenced block of a chat's messages with its label, in order; what the assistant said is left out."""
    return [
        block
        for message in messages
        if message.get("role") != "assistant"
        for block in _split(_text_of(message.get("content")))[1]
    ]


def choices_ordered(text: str, grammar: Grammar = BUILT_IN) -> dict[str, str]:
    """The choices that a text orders, as the writer reads it: choice -> option."""
    return dict(_read_orders(text, grammar).choices)


def read_brief(text: str) -> tuple[WriterBrief, str]:
    """A brief as `key: value` lines (indented lines continue a value) and free text, and its locale ("en" if none)."""
    values: dict[str, str] = {}
    free: list[str] = []
    current = ""
    for line in text.splitlines():
        key_line = None if line[:2] == "  " and current else _KEY_LINE.match(line)
        if key_line and not key_line[2].startswith("//"):
            current = " ".join(key_line[1].casefold().replace("_", " ").split())
            values[current] = key_line[2].strip()
        elif line[:2] == "  " and current:
            values[current] = f"{values[current]}\n{line.strip()}".strip()
        elif line.strip():
            current = ""
            free.append(line.strip())
    links = [*_LINK.findall(_first(values, LINK_KEYS)), *_LINK.findall(text)]
    title = _first(values, TITLE_KEYS) or (free[0] if free else "")
    others = {key: value for key, value in values.items() if key not in NO_FACTS and not key.startswith("field ")}
    # Fields that call themselves facts make better sentences than, say, a company's size; these are a last resort.
    named = [value for key, value in others.items() if FACT_KEYS.search(key)]
    facts = named or list(others.values())
    facts += [line for line in free if line != title]
    passages = read_lines(values.get(PASSAGES, ""))
    facts += [text for _, text in passages]
    language = _first(values, LOCALE_KEYS).strip().casefold()
    brief = WriterBrief(
        keyword=_first(values, SUBJECT_KEYS).split(",")[0],
        title=title,
        product=_first(values, PRODUCT_KEYS),
        audience=_first(values, AUDIENCE_KEYS),
        facts=tuple(_list_of(facts)),
        link=links[0].rstrip(".,;") if links else "",
        passages=passages,
    )
    return brief, LANGUAGES.get(language, language) or "en"


def _first(values: Mapping[str, str], keys: Iterable[str]) -> str:
    return next((values[key] for key in keys if values.get(key)), "")


def _list_of(facts: Iterable[str]) -> Iterator[str]:
    """The facts; a JSON list of texts counts as its parts."""
    for fact in facts:
        if fact.startswith("["):
            try:
                parts = json.loads(fact)
            except ValueError:
                parts = [fact]
            yield from (str(part) for part in parts)
        else:
            yield fact


def _text_of(content: Any) -> str:
    """A message's content, which the API allows to be a text, a list of parts, or nothing."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def _split(text: str) -> tuple[str, list[tuple[str, str]]]:
    """What stands outside of fences, and the fenced blocks with their labels (CommonMark 0.31, section 4.5)."""
    outside: list[str] = []
    blocks: list[tuple[str, str]] = []
    fence, label, inside = "", "", []
    for line in text.splitlines():
        mark = _FENCE.match(line) if "```" in line else None
        if not fence and mark:
            fence, label, inside = mark[1], mark[2].strip().casefold(), []
        elif fence and mark and len(mark[1]) >= len(fence) and not mark[2].strip():
            blocks.append((label, "\n".join(inside)))
            fence = ""
        elif fence:
            inside.append(line)
        else:
            outside.append(line)
    if fence:
        blocks.append((label, "\n".join(inside)))
    return "\n".join(outside), blocks


@lru_cache(maxsize=256)
def _read_orders(text: str, grammar: Grammar) -> Orders:
    # The same rules stand in every prompt of a cycle.
    schema, text = _schema_in(text)
    choices: dict[str, str] = {}
    for clause in re.split(r"(?<=[.!?;])\s+|\n+|, but\b|, and\b", text):
        negated = re.search(_NEGATION, clause, re.IGNORECASE)
        for choice, option, pattern in grammar.orders:
            if not pattern.search(clause):
                continue
            if not negated:
                choices[choice] = option
            elif option == YES:
                choices[choice] = NO
        # What follows knows of the built-in grammar; `choices` keeps what the grammar at hand has.
        if negated and re.search(r"\b(?:no|avoid|without) (?:any )?questions?\b", clause, re.IGNORECASE):
            choices["is_question"] = NO
        if negated and re.search(r"\b(?:no|avoid|without) (?:any )?(?:numbers?|figures?)\b", clause, re.IGNORECASE):
            choices["has_number"] = NO
        for choice, option in _choice_line(grammar).findall(clause):
            if option.casefold() in grammar.choices[choice.casefold()]:
                choices[choice.casefold()] = option.casefold()
    if not grammar.orders:
        choices |= _told_word_for_word(text, grammar)
    choices = {choice: option for choice, option in choices.items() if choice in grammar.choices}
    verbatim, language = _VERBATIM.search(text), _IN_LANGUAGE.search(text)
    return Orders(
        choices=tuple(choices.items()),
        phrases=tuple(_QUOTED.findall(text)),
        verbatim=verbatim[1] if verbatim else None,
        language=LANGUAGES[language[1].casefold()] if language else None,
        schema=schema,
    )


def _told_word_for_word(text: str, grammar: Grammar) -> dict[str, str]:
    told = text.casefold()
    return {
        choice: option
        for choice, options in grammar.sentences.items()
        for option, sentence in options.items()
        if sentence.rstrip(".!").casefold() in told
    }


@cache
def _choice_line(grammar: Grammar) -> re.Pattern[str]:
    return re.compile(r"\b(" + "|".join(grammar.choices) + r")\s*[:=]\s*(\w+)", re.I)


def _schema_in(text: str) -> tuple[Mapping[str, Any] | None, str]:
    """The JSON object after the words "JSON Schema:", and the text without it."""
    for mark in re.finditer(r"JSON schema:\s*", text, re.IGNORECASE):
        try:
            schema, end = json.JSONDecoder().raw_decode(text, mark.end())
        except ValueError:
            continue
        if isinstance(schema, dict):
            return schema, text[: mark.start()] + text[end:]
    return None, text
