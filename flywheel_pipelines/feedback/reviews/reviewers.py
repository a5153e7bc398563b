"""Reviewers by pseudonym: names and addresses of people do not enter the lake.

Not here: personal data inside comments and texts.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

UNNAMED = "unnamed"
_CODE = re.compile(r"(?=[A-Za-z_-]*[0-9])[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_ADDRESS = re.compile(r"[^\s@,;<>\"']+@[^\s@,;<>\"']+")


def pseudonym_of(reviewer: str | None) -> tuple[str, bool]:
    """The name under which a reviewer is known here, and whether what was written had to be replaced.

    A code is kept as it is: one word of letters, digits, - and _ with a digit in it, such as editor-3 or W3. Anything
    else may be somebody's name or address and becomes `reviewer-` with ten digits, the same for the same person
    (whatever the case and blanks). Without a reviewer it is `unnamed`.

    The digits are a hash without a key, so that they are the same on every machine. They keep names out of tables and
    reports; they do not keep a secret: who has a list of names can compute whose digits are whose.
    """
    written = (reviewer or "").strip()
    if not written:
        return UNNAMED, False
    return (written, False) if _CODE.fullmatch(written) or written == UNNAMED else (_replaced(written), True)


def without_addresses(text: str) -> str:
    """The text with every e-mail address replaced by its pseudonym."""
    return _ADDRESS.sub(lambda found: _replaced(found[0]), text)


def _replaced(written: str) -> str:
    plain = " ".join(unicodedata.normalize("NFKC", written).casefold().split())
    digest = hashlib.sha256(f"reviewer\x1f{plain}".encode()).digest()
    return f"reviewer-{int.from_bytes(digest[:8], 'big') % 10**10:010d}"
