"""A grammar for the offline writer, as a flywheel's `grammar.yaml` declares it.

Here: the keys and what they must agree on. Not here: writing by it and reading it back (`llm.offline.declared`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flywheel_pipelines.spec.section import NAME_PATTERN, Name, Section

Template = Annotated[str, Field(min_length=2)]
Templates = Annotated[list[Template], Field(min_length=1)]
Piece = Literal["title", "subject", "summary", "point", "opening", "ending", "greeting", "body", "link", "keyword"]
Option = Annotated[str, Field(pattern=NAME_PATTERN)]
_LOCALE = r"^[a-z]{2,3}$"
_FIRST_SLOT = re.compile(r"[{(]")
LEAST_STEM = 4
"""Characters that a sentence of an option begins with, at least, before its first slot or alternative."""


class WordingSpec(Section):
    """The wording of one language.

    Slots: {s} the subject, {S} with a capital, {p} the product, {P} with a capital, {a} the audience; {f}, in `facts`
    alone, a fact of the brief. Alternatives stand in parentheses: (calm|quiet).
    """

    says: dict[Name, dict[Option, Templates]] = Field(
        description="Choice -> option -> sentences that carry it out. By how they begin a text is read back."
    )
    titles: Templates = Field(default=["{S}"], description="Titles, headlines and subjects.")
    summaries: Templates = Field(default=["{S}, {p}."], description="One-sentence summaries.")
    points: Templates = Field(default=["{S}"], description="Lines of lists.")
    greetings: Templates = Field(default=["{S},"], description="How a message begins.")
    facts: list[Template] = Field(default_factory=list, description="Sentences that state {f}; none: facts stay out.")
    fillers: Templates = Field(description="Sentences that carry out nothing.")
    subject: str = Field(default="this", description="Stands for the subject where the brief names none.")
    product: str = Field(default="it", description="Stands for the product where the brief names none.")
    audience: str = Field(default="you", description="Stands for the audience where the brief names none.")
    hints: dict[Name, dict[Option, str]] = Field(
        default_factory=dict,
        description="Choice -> option -> regular expression that hints at it in a text that others wrote.",
    )

    @property
    def beside(self) -> Iterator[tuple[str, str]]:
        """The templates that carry out nothing: the key and the template."""
        for key in ("titles", "summaries", "points", "greetings", "facts", "fillers"):
            yield from ((key, template) for template in getattr(self, key))


class StatementsSpec(Section):
    """For texts that cite passages: each statement says what a sentence of a passage says, and cites it.

    The choices `length` and `order` say how many there are, and which of the brief's sentences come first. A text is
    read back by how many statements it has; its order by how a statement begins, as any worded choice is.
    """

    length: dict[Option, Annotated[int, Field(ge=1, le=30)]] = Field(
        min_length=2, description="Option of the choice `length`: how many statements."
    )
    order: dict[Option, Literal["forwards", "backwards", "figures_first"]] = Field(
        min_length=2, description="Option of the choice `order`: in which order the brief's sentences are taken."
    )


class GrammarSpec(Section):
    """What a text may choose between, and how each choice is worded, so that it can be read back."""

    choices: dict[Name, dict[Option, str]] = Field(
        min_length=1,
        description="Choice -> option -> the guideline that asks for it. Sentences stand in the order of the choices.",
    )
    fields: list[Name] = Field(
        default_factory=list,
        description="Choices that no sentence carries out but a field of the output that has the choice's name.",
    )
    fills: dict[str, Piece] = Field(
        default_factory=dict,
        description="Field of the output: the piece that it gets, where its name does not say it, e.g. "
        "{system_prompt: body, template: point}.",
    )
    numbers: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="Number fields of the output that differ from text to text: drawn between the schema's bounds, "
        "instead of the middle.",
    )
    statements: StatementsSpec | None = Field(
        default=None,
        description="Texts are statements that cite the brief's passages: each worded choice begins one, the last of "
        "them the last, and {f} in `says` and `facts` is what is cited. None: nothing is cited.",
    )
    n_fillers: int = Field(default=2, ge=0, le=30, description="Sentences that carry out nothing, per text.")
    locales: dict[Annotated[str, Field(pattern=_LOCALE)], WordingSpec] = Field(
        min_length=1, description="Wording by language; the first stands in for languages that are not there."
    )

    @model_validator(mode="after")
    def _every_choice_leaves_a_choice(self) -> Self:
        for name, options in self.choices.items():
            if len(options) < 2:
                raise ValueError(f"choices.{name}: found {len(options)} option(s); a choice needs two or more")
        for name in self.fields:
            if name not in self.choices:
                raise ValueError(f"fields: {name!r} is not one of the choices: {', '.join(self.choices)}")
        stated = [option for name in self.fields for option in self.choices[name]]
        if twice := sorted({option for option in stated if stated.count(option) > 1}):
            raise ValueError(f"fields: {', '.join(twice)} is an option of two of them, so it cannot be read back")
        return self

    @model_validator(mode="after")
    def _every_option_is_worded_in_every_language(self) -> Self:
        for locale, wording in self.locales.items():
            for key, worded in (("says", wording.says), ("hints", wording.hints)):
                wanted = self.worded if key == "says" else {name: self.choices.get(name, {}) for name in wording.hints}
                _same_names(f"locales.{locale}.{key}", worded, wanted)
                for name, options in wanted.items():
                    _same_names(f"locales.{locale}.{key}.{name}", worded[name], options)
            for name, patterns in wording.hints.items():
                for option, pattern in patterns.items():
                    _compiles(f"locales.{locale}.hints.{name}.{option}", pattern)
        return self

    @model_validator(mode="after")
    def _sentences_tell_their_option(self) -> Self:
        """No sentence begins as one of another option does, in any language: texts are read without being told."""
        stems = list(self.stems())
        for where, beginning, meaning in stems:
            if len(beginning) < LEAST_STEM:
                raise ValueError(
                    f"{where}: {beginning!r} is too short a beginning; a sentence of an option begins with at least "
                    f"{LEAST_STEM} characters before its first slot or alternative"
                )
            for other_where, other, other_meaning in stems:
                if meaning != other_meaning and other.startswith(beginning):
                    raise ValueError(f"{where}: begins as {other_where} does ({beginning!r}); begin it otherwise")
        for locale, wording in self.locales.items():
            for key, template in wording.beside:
                for where, beginning, _ in stems:
                    if beginning_of(template).startswith(beginning):
                        raise ValueError(
                            f"locales.{locale}.{key}: {template!r} begins as {where} does, which carries out an option"
                        )
        return self

    @model_validator(mode="after")
    def _statements_have_their_choices(self) -> Self:
        if self.statements is None:
            return self
        for name, options in (("length", self.statements.length), ("order", self.statements.order)):
            if name in self.fields or name not in self.choices:
                raise ValueError(f"statements.{name}: there must be a choice {name}, and no field of that name")
            _same_names(f"statements.{name}", options, self.choices[name])
        fewest = min(self.statements.length.values())
        if fewest < len(self.worded):
            raise ValueError(
                f"statements.length: found {fewest}, but {len(self.worded)} choices begin a statement each: "
                f"{', '.join(self.worded)}"
            )
        if len(set(self.statements.length.values())) < len(self.statements.length):
            raise ValueError("statements.length: two options have as many statements, so they cannot be told apart")
        for locale, wording in self.locales.items():
            said = [one for options in wording.says.values() for ones in options.values() for one in ones]
            for template in (*said, *wording.facts):
                if "{f}" not in template:
                    raise ValueError(
                        f"locales.{locale}: {template!r} states nothing; with statements it takes an {{f}}"
                    )
            if not wording.facts:
                raise ValueError(f"locales.{locale}.facts: missing; further statements are worded by it, e.g. '{{f}}'")
        return self

    @property
    def worded(self) -> dict[str, dict[str, str]]:
        """The choices that sentences carry out."""
        other = {*self.fields, *(("length",) if self.statements else ())}
        return {name: options for name, options in self.choices.items() if name not in other}

    def stems(self) -> Iterator[tuple[str, str, tuple[str, str]]]:
        """Where each sentence of an option stands, how it begins (in lower case), and choice and option."""
        for locale, wording in self.locales.items():
            for name, options in wording.says.items():
                for option, templates in options.items():
                    for template in templates:
                        yield f"locales.{locale}.says.{name}.{option}", beginning_of(template), (name, option)

    @property
    def version(self) -> str:
        """Hash of all that the grammar says (16 hex digits)."""
        # What a grammar does not use is no part of it: it keeps its version when keys are added.
        unused = {"statements"} if self.statements is None else set[str]()
        return hashlib.sha256(self.model_dump_json(exclude=unused).encode()).hexdigest()[:16]


def beginning_of(template: str) -> str:
    """The literal words that a template begins with, in lower case; a link may follow where the sentence ends."""
    found = _FIRST_SLOT.search(template)
    return template[: found.start() if found else len(template)].casefold().strip().rstrip(".!")


def _same_names(where: str, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    missing, unknown = [sorted(one.keys() - other.keys()) for one, other in ((wanted, found), (found, wanted))]
    if missing:
        raise ValueError(f"{where}: nothing for {', '.join(missing)}")
    if unknown:
        raise ValueError(f"{where}: {', '.join(unknown)} is none of {', '.join(wanted) or '(nothing)'}")


def _compiles(where: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{where}: {pattern!r} is no regular expression ({error})") from None
