"""HTML that a model wrote: made safe, and read as text.

Here: an allow-list of plain formatting, and the text that a reader sees. Not here: which fields of an output hold HTML
(`producer.html`), or HTML that came in.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

BLOCKS = frozenset({"p", "ul", "ol", "li", "h2", "h3", "h4", "blockquote", "br"})
KEPT = BLOCKS | {"strong", "em", "b", "i", "a"}
"""Elements that may stay. None of them runs anything, loads anything or changes how the page around it looks."""
WITHOUT_END = frozenset({"br"})
DROPPED_WHOLE = frozenset({"script", "style", "template", "iframe", "object", "svg", "math", "noscript", "title"})
"""Elements whose content is no text of the page."""
SCHEMES = frozenset({"http", "https", "mailto"})


class _Reader(HTMLParser):
    """Writes down what may stay, every element closed; what is not allowed leaves its text behind."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.plain: list[str] = []
        self._open: list[str] = []
        self._dropped = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._dropped or tag in DROPPED_WHOLE:
            self._dropped = self._dropped or tag
            return
        if tag not in KEPT:
            return
        if tag in BLOCKS:
            self.plain.append("\n")
        link = _safe_link(dict(attrs).get("href")) if tag == "a" else None
        if tag == "a" and link is None:
            return
        self.pieces.append(f'<{tag} href="{html.escape(link)}">' if link else f"<{tag}>")
        if tag not in WITHOUT_END:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._dropped:
            self._dropped = "" if tag == self._dropped else self._dropped
            return
        if tag not in self._open:
            return
        while self._open:
            last = self._open.pop()
            self.pieces.append(f"</{last}>")
            if last in BLOCKS:
                self.plain.append("\n")
            if last == tag:
                return

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self.pieces.append(html.escape(data, quote=False))
            self.plain.append(data)

    def finished(self) -> _Reader:
        self.close()
        while self._open:
            self.pieces.append(f"</{self._open.pop()}>")
        return self


def sanitised(text: str) -> str:
    """The HTML with nothing in it but KEPT elements without attributes, links that lead to SCHEMES, and text.

    Whatever is not allowed leaves its text behind, but for scripts, styles and the like. Sanitising twice changes
    nothing.
    """
    return "".join(_read(text).pieces)


def text_of_html(text: str) -> str:
    """What a reader sees of the HTML: one line for each block, blank ones left out."""
    lines = ("".join(_read(text).plain)).splitlines()
    return "\n".join(line for line in (" ".join(one.split()) for one in lines) if line)


def _read(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    return reader.finished()


def _safe_link(href: str | None) -> str | None:
    """The address as it may stand; None when it leads anywhere but to SCHEMES, however it is disguised."""
    bare = re.sub(r"[\x00-\x20\x7f]", "", href or "")
    try:
        scheme = urlsplit(bare).scheme.lower()
    except ValueError:
        return None
    return bare if scheme in SCHEMES else None
