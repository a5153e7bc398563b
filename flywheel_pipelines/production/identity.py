"""Names and draws that are the same in every process and every rerun.

Here: output ids, candidate ids and the uniform draws that assign arms. Not here: who uses them.
A draw is a hash and not a random generator, so a brief keeps its arm whatever else is produced beside it.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import date

_ID_BYTES = 8


def output_id(flywheel: str, cycle: date, brief_id: str, variant_key: str) -> str:
    """A 13-character id of lower-case letters and digits, short enough for a UTM tag.

    64 bits: with ten million outputs two share an id with a probability of about 3 in a million.
    """
    digest = _digest("output", flywheel, cycle.isoformat(), brief_id, variant_key)
    return base64.b32encode(digest[:_ID_BYTES]).decode().rstrip("=").lower()


def uniform(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    return int.from_bytes(_digest("draw", *parts)[:7], "big") / 2**56


def _digest(*parts: object) -> bytes:
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
