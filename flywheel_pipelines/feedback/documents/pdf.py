"""PDF as parts, one for each page. Not here: reading the file (`pdf_worker`, a process of its own).

A page has lines and no paragraphs. Lines are put together, words that were divided at the end of a line too. A short
first line that ends no sentence is taken for the page's heading. Text inside pictures is none.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.documents.parts import Document, Part, one_line

WORKER = Path(__file__).with_name("pdf_worker.py")
MOST_SECONDS = 60
"""How long a file is waited for; the worker's own limit is on processor time, which a busy machine stretches."""
HEADING_LENGTH = 80
_DIVIDED = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\n(?=[^\W\d_A-Z])")
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")


def read_pdf(path: Path) -> Document:
    """The pages of a PDF.

    Raises:
        InputFileError: it is broken, encrypted, or takes more time, memory or pages than a document does.
    """
    command = [sys.executable, "-I", str(WORKER), str(path.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=MOST_SECONDS, check=False)
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        # A worker that ran into its limits was killed in the middle of its answer, or before.
        answer = {"refused": "takes more time or memory to read than a document needs. Look at where it comes from."}
    if "refused" in answer:
        raise InputFileError(f"{path}: the PDF {answer['refused']} Nothing was taken from it.")
    pages = [_page(number, text) for number, text in enumerate(answer["pages"], start=1)]
    return Document("", tuple(pages), has_pages=True)


def _page(number: int, text: str) -> Part:
    paragraphs = _PARAGRAPH.split(_DIVIDED.sub("", text.replace("\r\n", "\n").strip()))
    first, _, rest = paragraphs[0].partition("\n")
    heading = one_line(first)
    is_heading = bool(heading) and len(heading) <= HEADING_LENGTH and heading[-1] not in ".!?:;,"
    if is_heading and (rest or len(paragraphs) > 1):
        paragraphs[0] = rest
    else:
        heading = ""
    texts = [bare for paragraph in paragraphs if (bare := one_line(paragraph))]
    return Part(heading or f"Page {number}", 1, number, texts)
