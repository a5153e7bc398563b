"""The language of an output. Not here: translations, or judging style."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from flywheel_pipelines.production.guardrails.plain import shortened

MIN_CHARACTERS = 40
"""Shorter texts are not judged: they hold too few letter sequences to tell, say, Spanish from Portuguese.

Measured with py3langid 0.4 on slices of running text in six languages: another language than English is recognised with
the confidence below in 70% of 20 characters, 99% of 40 and all of 60. Of 6,626 real English headlines and ledes of 40
characters or more, none was taken for another language with that confidence.
"""
MIN_CONFIDENCE = 0.5
_ALIKE = ({"no", "nb", "nn", "da"}, {"hr", "bs", "sr"}, {"id", "ms"}, {"zh", "yue", "wuu"}, {"es", "gl"})


def wrong_language(text: str, wanted: str | None, locale: str | None) -> list[str]:
    """The reason when a text is surely in another language than wanted.

    Args:
        text: the plain text.
        wanted: ISO 639-1 code, or `brief` for that of the brief's locale, or None for any.
        locale: the brief's locale, e.g. pt-BR; without one, `brief` allows any language.

    Languages that the identifier does not know, and pairs that it cannot keep apart, are not held against a text.
    """
    language = (locale or "").replace("_", "-").split("-")[0].lower() if wanted == "brief" else wanted
    if not language or len(text.strip()) < MIN_CHARACTERS or language not in _known_languages():
        return []
    found, confidence = _identifier().classify(text)
    if found == language or confidence < MIN_CONFIDENCE or any({found, language} <= alike for alike in _ALIKE):
        return []
    return [f"language: reads as {found}, {language} is wanted ({shortened(text)})"]


@cache
def _identifier() -> Any:
    # Unpacking its model takes up to a second: only where a language is asked for.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _known_languages() -> frozenset[str]:
    labels: Iterable[Any] = _identifier().nb_classes
    twins = {"nb"}
    return frozenset(str(label) for label in labels) | twins
