"""An edited text in the form that a model has to answer in. Not here: what may be edited (`feedback.reviews`)."""

from __future__ import annotations

import json
import re
from typing import Any

_PARAGRAPHS = re.compile(r"\n[ \t]*\n")


def edited_content(content: str, text: str) -> str | None:
    """The JSON of an output with its texts as an edited reading of it has them; None where that is not certain.

    What people edit is the output as a reader sees it, its parts apart by blank lines (`content.readable_text`). It is
    certain which part is which when the content is a flat object of texts of which all but the last are one paragraph:
    the edited text's first paragraphs are then the first parts, and the rest is the last.
    """
    parts: Any = json.loads(content)
    if not isinstance(parts, dict) or not parts or not all(isinstance(part, str) for part in parts.values()):
        return None
    *first, _ = parts.values()
    if any(not part.strip() or _PARAGRAPHS.search(part.strip()) for part in first):
        return None
    found = _PARAGRAPHS.split(text.replace("\r\n", "\n").strip(), maxsplit=len(first))
    if len(found) != len(parts) or not all(part.strip() for part in found):
        return None
    return json.dumps(dict(zip(parts, (part.strip() for part in found), strict=True)), ensure_ascii=False)
