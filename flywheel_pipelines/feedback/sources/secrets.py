"""Keeping the URL of a database out of everything that is written or shown.

Here: reading it from the environment, and taking its parts out of what a database or a driver says.
Not here: connecting (`sql`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from flywheel_pipelines.errors import FlywheelError

HIDDEN = "***"
SHORTEST = 4
"""Shorter parts of a URL are ordinary words and numbers as well; masking them everywhere would garble the message."""

_SEPARATORS = re.compile(r"[/:@?&=#;,\s\[\]]+")


@dataclass(frozen=True)
class HiddenUrl:
    """A URL that does not show: not in `repr`, not in what `masked` lets through."""

    variable: str
    text: str = field(repr=False)

    def masked(self, words: str, *, connected: bool = False) -> str:
        """What somebody said, without any part of the URL but its scheme.

        Host, user and database go too: a password with an unescaped `@` or `/` is taken for one of them by the parser,
        and drivers repeat those. Once `connected` the URL was read as it was meant: host, user and database may stay.
        """
        for part in self._parts(connected):
            words = words.replace(part, HIDDEN)
        return words

    def _parts(self, connected: bool) -> list[str]:
        scheme, _, rest = self.text.partition("://")
        # The password may hold any of the separators.
        password = rest.rpartition("@")[0].partition(":")[2]
        pieces = [self.text, rest, password, *re.findall(r"[?&][^=&]+=([^&]*)", rest)]
        if not connected:
            # Without "://" the whole text is secret: nobody knows what was meant to be what.
            pieces += _SEPARATORS.split(rest or scheme)
        spelled = {spelling for piece in pieces for spelling in (piece, _unescaped(piece))}
        return sorted((piece for piece in spelled if len(piece) >= SHORTEST), key=len, reverse=True)


def _unescaped(part: str) -> str:
    """With %40 and its like as the characters that they stand for, as a driver is given it."""
    octets = re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), part.encode(errors="replace")
    )
    return octets.decode(errors="replace")


def url_from(environment: Mapping[str, str], variable: str, *, feed: str) -> HiddenUrl:
    """The URL that an environment variable holds. Raises FlywheelError when it is not set."""
    text = environment.get(variable, "").strip()
    if not text:
        raise FlywheelError(
            f"Feed {feed}: the environment variable {variable} is not set, expected a SQLAlchemy URL such as "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE. Set it where this runs; the URL stands in no file."
        )
    return HiddenUrl(variable, text)
