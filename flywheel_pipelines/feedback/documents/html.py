"""HTML as parts. Not here: HTML that a model wrote (`production.html_text`), or which encoding it is in (`opening`).

What a reader does not see is not read: scripts and the like, menus, and elements that say that they are hidden.
Hidden text would be an easy way to tell a model what nobody checks. Style sheets are not looked at.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from flywheel_pipelines.feedback.documents.parts import Document, PartsInProgress

MOST_UNCLOSED = 10
_NOT_SHOWN = frozenset(
    {
        "script",
        "style",
        "template",
        "noscript",
        "iframe",
        "object",
        "svg",
        "math",
        "canvas",
        "nav",
        "select",
        "textarea",
    }
)
_BREAKS = re.compile(
    "address|article|aside|blockquote|body|caption|d[dlt]|details|div|fieldset|figcaption|figure|footer|form|header|hr|"
    "html|legend|li|main|ol|p|pre|section|summary|table|tbody|tfoot|thead|tr|ul"
)
_CELLS = frozenset({"td", "th"})
_WITHOUT_END = re.compile("area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr")
_HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])|opacity\s*:\s*0(?![.\d])")


def read_html(text: str) -> Document:
    """The parts of an HTML text; its title is that of its head. Raises EndlessError."""
    parts = PartsInProgress()
    read_html_into(text, parts)
    return parts.finished()


def read_html_into(text: str, parts: PartsInProgress) -> None:
    """Add what an HTML text, or a piece of one, shows. Raises EndlessError."""
    reader = _Reader(parts)
    reader.feed(text)
    reader.close()
    reader.flush()


class EndlessError(ValueError):
    """Markup that is opened and never closed, again and again: html.parser would look for each end to the very end."""


class _Reader(HTMLParser):
    """Collects words until something breaks them; each run is a heading, a title or a text."""

    def __init__(self, parts: PartsInProgress) -> None:
        super().__init__(convert_charrefs=True)
        self._parts = parts
        self._words: list[str] = []
        self._level = 0
        self._in_title = False
        self._n_cells = 0
        self._hidden_by, self._depth = "", 0
        self._n_unclosed = 0

    # -- what never ends ----------------------------------------------------------------------------------------------
    def parse_starttag(self, i: int) -> int:
        return self._closed(super().parse_starttag(i))

    def parse_endtag(self, i: int) -> int:
        return self._closed(super().parse_endtag(i))

    def parse_html_declaration(self, i: int) -> int:
        return self._closed(super().parse_html_declaration(i))

    def parse_comment(self, i: int, report: bool = True) -> int:
        return self._closed(super().parse_comment(i, report))

    def parse_pi(self, i: int) -> int:
        return self._closed(super().parse_pi(i))

    def _closed(self, end: int) -> int:
        self._n_unclosed += end < 0
        if self._n_unclosed > MOST_UNCLOSED:
            raise EndlessError(f"more than {MOST_UNCLOSED} tags or comments are never closed")
        return end

    # -- what is seen -------------------------------------------------------------------------------------------------
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden_by:
            self._depth += tag == self._hidden_by
            return
        if tag in _NOT_SHOWN or (not _WITHOUT_END.fullmatch(tag) and _is_hidden(dict(attrs))):
            self._hidden_by, self._depth = tag, 1
            return
        if tag == "title":
            self.flush()
            self._in_title = True
        elif re.fullmatch("h[1-6]", tag):
            self.flush()
            self._level = int(tag[1])
        elif _BREAKS.fullmatch(tag):
            self.flush()
        elif tag == "br":
            self._words.append(" ")
        elif tag in _CELLS:
            self._words.append(" | " if self._n_cells else "")
            self._n_cells += 1

    def handle_endtag(self, tag: str) -> None:
        if self._hidden_by:
            self._depth -= tag == self._hidden_by
            if not self._depth:
                self._hidden_by = ""
            return
        if _BREAKS.fullmatch(tag) or tag == "title" or re.fullmatch("h[1-6]", tag):
            self.flush()

    def handle_data(self, data: str) -> None:
        if not self._hidden_by:
            self._words.append(data)

    def flush(self) -> None:
        """End the run of words."""
        words = "".join(self._words)
        if self._in_title:
            self._parts.title = self._parts.title or words
        elif self._level:
            self._parts.heading(words, self._level)
        else:
            self._parts.text(words)
        self._words, self._level, self._in_title, self._n_cells = [], 0, False, 0


def _is_hidden(attributes: dict[str, str | None]) -> bool:
    return "hidden" in attributes or _HIDING.search((attributes.get("style") or "").casefold()) is not None
