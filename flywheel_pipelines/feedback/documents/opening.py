"""Opening a document: what it is, by its first bytes and then by its name, and in which encoding.

Not here: the formats. Whatever goes wrong with the file as a whole is an InputFileError that says what to do.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.documents.html import EndlessError, read_html
from flywheel_pipelines.feedback.documents.markdown import read_markdown
from flywheel_pipelines.feedback.documents.parts import Document
from flywheel_pipelines.feedback.documents.pdf import read_pdf
from flywheel_pipelines.feedback.files import check_file, shown

MOST_BYTES_OF_TEXT, MOST_BYTES_OF_PDF = 2_000_000, 50_000_000
"""A thousand pages of text have about two million letters; a PDF holds pictures and fonts besides."""
MARKDOWN, HTML = (".md", ".markdown", ".mdown", ".txt"), (".html", ".htm", ".xhtml")
_HTML_START = re.compile(r"\s*<(!doctype\s+html|html|head|body|article|main|section|div|h[1-6]|p)\b", re.IGNORECASE)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_OTHERS = {
    b"\x1f\x8b": "is packed (gzip). Unpack it",
    b"\xd0\xcf\x11\xe0": "is an old Office file. Save it as PDF or HTML",
    b"{\\rtf": "is RTF. Save it as PDF or HTML",
    b"Rar!": "is packed (rar). Unpack it",
    b"7z\xbc\xaf": "is packed (7z). Unpack it",
    b"BZh": "is packed (bzip2). Unpack it",
    b"\xfd7zXZ": "is packed (xz). Unpack it",
    b"\x28\xb5\x2f\xfd": "is packed (zstd). Unpack it",
}
_OFFICE = (b"[Content_Types].xml", b"mimetypeapplication/vnd.oasis")


def read_document(path: Path) -> Document:
    """A file's text by parts.

    Raises:
        InputFileError: there is no such file, it is none of Markdown, HTML and PDF, too large, broken, encrypted, or
            holds no text.
    """
    check_file(path)
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(1_024)
    if not start.strip():
        raise InputFileError(f"{path}: is empty, expected a document. Hand it in again.")
    # PDF readers accept up to a kilobyte of something else before the mark.
    is_pdf = b"%PDF-" in start
    _refuse_others(path, start)
    most = MOST_BYTES_OF_PDF if is_pdf else MOST_BYTES_OF_TEXT
    if size > most:
        raise InputFileError(f"{path}: has {size:,} bytes, at most {most:,} are read of one document. Split it.")
    try:
        document = read_pdf(path) if is_pdf else _read_text(path, path.read_bytes())
    except EndlessError as error:
        raise InputFileError(f"{path}: is broken HTML ({error}). Save the page again.") from error
    if not document.n_characters:
        why = "perhaps it is a scan: let a program read its pictures (OCR)" if is_pdf else "look at what is in it"
        raise InputFileError(f"{path}: holds no text that a reader would see; {why}, and hand it in again.")
    return document


def _read_text(path: Path, data: bytes) -> Document:
    suffix = path.suffix.casefold()
    text = _decoded(path, data, may_say=suffix not in MARKDOWN)
    if "\0" in text:
        raise InputFileError(f"{path}: is no text (it holds NUL bytes), expected Markdown, HTML or PDF.")
    if suffix in HTML or (suffix not in MARKDOWN and _HTML_START.match(text)):
        return read_html(text)
    if suffix in MARKDOWN:
        return read_markdown(text)
    raise InputFileError(
        f"{path}: is no PDF and no HTML, and its name ends in {shown(suffix) or 'nothing'}; expected one of "
        f"{', '.join((*MARKDOWN, *HTML, '.pdf'))}. Rename it, or save it as one of these."
    )


def _decoded(path: Path, data: bytes, *, may_say: bool) -> str:
    """The text: by its byte-order mark, else by the charset that HTML declares, else UTF-8; never by a guess."""
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif may_say and not data.startswith(codecs.BOM_UTF8) and (said := _CHARSET.search(data[:2_048])):
        encoding = said[1].decode("ascii")
    try:
        if not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError(encoding)
        return data.decode(encoding)
    except LookupError as error:
        raise InputFileError(f"{path}: says that it is {encoding}, which is no encoding. Save it as UTF-8.") from error
    except UnicodeError as error:
        raise InputFileError(
            f"{path}: is not text in {encoding.removesuffix('-sig')} ({str(error)[:120]}). Save it as UTF-8."
        ) from error


def _refuse_others(path: Path, start: bytes) -> None:
    for signature, what in _OTHERS.items():
        if start.startswith(signature):
            raise InputFileError(f"{path}: {what}, and hand it in again; Markdown, HTML and PDF are read.")
    if start.startswith(b"PK\x03\x04") or start.startswith(b"PK\x05\x06"):
        is_office = any(mark in start for mark in _OFFICE)
        what = "is an Office file. Save it as PDF or HTML" if is_office else "is packed (zip). Unpack it"
        raise InputFileError(f"{path}: {what}, and hand it in again; Markdown, HTML and PDF are read.")
