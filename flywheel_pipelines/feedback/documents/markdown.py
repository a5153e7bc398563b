"""Markdown as parts: CommonMark and tables, by markdown-it-py. Not here: other formats."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from flywheel_pipelines.feedback.documents.html import read_html_into
from flywheel_pipelines.feedback.documents.parts import Document, PartsInProgress

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


def read_markdown(text: str) -> Document:
    """The parts of a Markdown text; front matter is no text of it, and of a link its words are."""
    parts = PartsInProgress()
    tokens = MarkdownIt("commonmark").enable("table").parse(_FRONT_MATTER.sub("", text))
    level, row = 0, None
    for token in tokens:
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type == "heading_close":
            level = 0
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close" and row is not None:
            parts.text(" | ".join(row))
            row = None
        elif token.type == "inline":
            words = _words(token.children or [])
            if level:
                parts.heading(words, level)
            elif row is not None:
                row.append(words.strip())
            else:
                parts.text(words)
        elif token.type in ("fence", "code_block"):
            parts.text(token.content)
        elif token.type == "html_block":
            read_html_into(token.content, parts)
    return parts.finished()


def _words(tokens: Sequence[Token]) -> str:
    """What a reader sees of inline tokens."""
    pieces = []
    for token in tokens:
        if token.type in ("text", "code_inline"):
            pieces.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            pieces.append(" ")
        elif token.type == "image":
            pieces.append(_words(token.children or []))
    return "".join(pieces)
