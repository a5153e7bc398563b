"""Links in texts. Not here: whether what they lead to exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flywheel_pipelines.production.guardrails.plain import shortened

if TYPE_CHECKING:
    from flywheel_pipelines.production.guardrails.brief_facts import BriefFacts

# Bare domains count only with an ending that is no everyday word: "so.it" is a missing space, not a link.
_ENDINGS = (
    "com|org|net|info|biz|edu|gov|io|ai|app|dev|shop|store|online|site|club|xyz|link|page|click|eu|uk|de|fr|nl|pl|cz|"
    "ch|dk|fi|pt|br|ru|cn|jp|kr|ca|au|nz|ly|gg|cc|tv"
)
_LINK = re.compile(
    r"(?<![\w@])(?:"
    r"[a-z][a-z0-9+.-]{1,20}://[^\s<>\"`|]+"
    r"|(?:javascript|data|file|vbscript|mailto|tel):[^\s<>\"`|]+"
    r"|www\.[^\s<>\"`|]+"
    rf"|(?:[^\W_](?:[\w-]{{0,61}}[^\W_])?\.)+(?:{_ENDINGS})(?![\w@-])(?:[/?#:][^\s<>\"`|]*)?"
    r")",
    re.IGNORECASE,
)
_TRAILING = ".,;:!?'\"*_»”’"
_PAIRS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True)
class Link:
    """A link as it stands in a text, and the form by which links are compared."""

    shown: str
    normalized: str


def links_in(text: str) -> Iterator[Link]:
    """The links of a plain text: with a scheme, with www, or a bare domain with a usual ending."""
    for found in _LINK.finditer(text):
        shown = _without_trailing(found[0])
        yield Link(shown, _normalized(shown))


def without_links(text: str) -> str:
    """The text with its links taken out, for rules about what stands beside them."""
    return _LINK.sub(lambda found: " " + found[0][len(_without_trailing(found[0])) :], text)


def foreign_links(text: str, brief: BriefFacts) -> list[str]:
    """The reason when a plain text has links that the brief does not; http(s), `www.` and a last `/` do not matter."""
    foreign = list(dict.fromkeys(link.shown for link in links_in(text) if link.normalized not in brief.links))
    return [f"link not in the brief: {', '.join(shortened(link) for link in foreign[:3])}"] if foreign else []


def _without_trailing(link: str) -> str:
    """Without the punctuation of the sentence around it; a closing bracket belongs to the link if its opening does."""
    while link:
        last = link[-1]
        if last in _TRAILING or (last in _PAIRS and link.count(last) > link.count(_PAIRS[last])):
            link = link[:-1]
        else:
            break
    # Markdown: [text](link) leaves ](... behind when the text itself is a link.
    return link.split("](")[0]


def _normalized(link: str) -> str:
    bare = re.sub(r"^https?://", "", link, flags=re.IGNORECASE)
    bare = re.sub(r"^www\.", "", bare, flags=re.IGNORECASE)
    host, slash, path = re.split(r"([/?#]|$)", bare, maxsplit=1)
    return (host.lower() + slash + path).rstrip("/")
