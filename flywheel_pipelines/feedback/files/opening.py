"""Opening a file that may be missing, a folder, empty, packed, cut off, or something else than its name says.

Here: what a file is (by its first bytes, never by its name), how its text is encoded, and a text stream over it.
Not here: unpacking (`packed`), rows. Whatever goes wrong with the file as a whole is an InputFileError that says what
to do.

Encodings: UTF-8, with or without its mark, and UTF-16 with its mark are certain. Anything else is never guessed:
Windows-1252 and its relatives read every byte as something, so a wrong guess shows nowhere. Rows with such bytes go to
quarantine.
"""

from __future__ import annotations

import codecs
import contextlib
import difflib
import io
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import shown
from flywheel_pipelines.feedback.files.packed import Packing, open_bytes, zip_member


class FileFormat(StrEnum):
    """What a file holds, once unpacked."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    JUNIT = "junit"


@dataclass(frozen=True)
class Source:
    """A file that can be read: how it is packed, what it holds, how its text is encoded."""

    path: Path
    format: FileFormat
    packing: Packing = Packing.NONE
    member: str = ""
    encoding: str = "utf-8-sig"

    @property
    def name(self) -> str:
        """The file's name, and the one inside a zip."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name


SNIFFED = 4_096
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_OTHER_PACKINGS = {
    b"BZh": "a bzip2 file. Unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "a zstd file. Unpack it, or pack it with gzip",
    b"\xfd7zXZ": "an xz file. Unpack it, or pack it with gzip",
    b"7z\xbc\xaf\x27\x1c": "a 7z file. Unpack it, or pack it with gzip",
    b"Rar!": "a rar file. Unpack it, or pack it with gzip",
}
_OTHER_CONTENTS = {
    b"\xff\xfe\0\0": "UTF-32 text. Save it as UTF-8",
    b"\0\0\xfe\xff": "UTF-32 text. Save it as UTF-8",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel workbook (or an encrypted one). Export the sheet as CSV",
    b"%PDF": "a PDF. Export the table as CSV",
    b"SQLite format 3\0": "an SQLite database. Export the table as CSV, or declare an sql feed",
}
_NESTED = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", *_OTHER_PACKINGS)
_TEST_REPORT = re.compile(r"<([\w.-]+:)?testsuites?[\s/>]")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def open_source(path: Path) -> Source:
    """What this file is.

    Raises:
        InputFileError: it is missing, not a regular file, unreadable, empty, or of a kind that is not read here.
    """
    start = _first_bytes(path)
    if not start:
        raise InputFileError(f"{path}: is empty (0 bytes), expected a header and rows. Export it again.")
    _refuse(path, start, _OTHER_PACKINGS)
    if start.startswith(b"PAR1"):
        return Source(path, FileFormat.PARQUET)
    if path.suffix == ".parquet":
        raise InputFileError(
            f"{path}: is named .parquet but does not begin like a Parquet file. "
            "Export it again, or give it the name of what it is (.csv, .csv.gz)."
        )
    if start.startswith(b"\x1f\x8b"):
        return _unpacked_source(path, Packing.GZIP, "")
    if start.startswith(b"PK"):
        return _unpacked_source(path, Packing.ZIP, zip_member(path))
    if path.suffix == ".gz" and any(byte < 9 or byte > 126 for byte in start[:8].removeprefix(codecs.BOM_UTF8)):
        raise InputFileError(
            f"{path}: is named .gz but the gzip data is broken from its start. Copy or export it again."
        )
    # Browsers unpack downloads and keep the name: text that is named .gz is read as text.
    return _text_source(path, Packing.NONE, "", start)


@contextlib.contextmanager
def open_text(source: Source) -> Iterator[io.TextIOWrapper]:
    """The file's text without its byte-order mark; bytes that are no characters arrive as lone surrogates.

    Raises:
        InputFileError: the packed data is broken or ends early, also when that shows only while reading.
    """
    # utf-16 has no surrogateescape: there, halves of characters pass, and a file of odd length is refused.
    errors = "surrogateescape" if source.encoding == "utf-8-sig" else "surrogatepass"
    try:
        with (
            open_bytes(source.path, source.packing, source.member) as raw,
            # newline="" leaves line breaks inside quoted cells as they are.
            io.TextIOWrapper(raw, encoding=source.encoding, errors=errors, newline="") as text,
        ):
            yield text
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"{source.path}: its UTF-16 text is cut off or broken ({error.reason}). Nothing was taken from it. "
            "Export it again, or save it as UTF-8."
        ) from error


def check_file(path: Path) -> None:
    """Refuse what an inbox should not hold, before anything else opens it.

    Raises:
        InputFileError: its name hides what it is, it is a link that leads out of its folder, or no regular file that
            can be read; with the name in a form that can be printed.
    """
    odd = [char for char in str(path) if char in _BIDI or unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}]
    if odd:
        raise InputFileError(
            f"{shown(str(path))}: its name holds characters that cannot be shown "
            f"({', '.join(sorted({f'U+{ord(char):04X}' for char in odd}))}). Rename it and hand it in again."
        )
    try:
        leads_out = path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve())
    except (OSError, RuntimeError) as error:
        raise InputFileError(f"{path}: is a link that leads nowhere ({error}). Hand in the file itself.") from error
    if leads_out:
        raise InputFileError(
            f"{path}: is a link to {shown(str(path.resolve()))}, outside its own folder. Hand in the file itself."
        )
    _first_bytes(path)


def _first_bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputFileError(f"{path}: is a folder, expected a file. Name one file in it.")
        if not stat.S_ISREG(mode):
            # A pipe or a device could keep us waiting for ever.
            raise InputFileError(f"{path}: is not a regular file. Write it to disk first and name that file.")
        with path.open("rb") as handle:
            return handle.read(SNIFFED)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputFileError(f"{path}: no such file.{_similar_names(path)}") from error
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror}). Check its name and permissions.") from error
    except ValueError as error:
        raise InputFileError(f"{shown(str(path))}: no file can have this name ({error}).") from error


def _unpacked_source(path: Path, packing: Packing, member: str) -> Source:
    with open_bytes(path, packing, member) as raw:
        start = raw.read(SNIFFED)
    if start.startswith(_NESTED):
        raise InputFileError(
            f"{path}: holds a packed file inside the packed file. Unpack the outer one, and hand in what is inside."
        )
    if start.startswith(b"PAR1"):
        raise InputFileError(f"{path}: holds a Parquet file. Unpack it, and hand in the Parquet file itself.")
    return _text_source(path, packing, member, start)


def _text_source(path: Path, packing: Packing, member: str, start: bytes) -> Source:
    _refuse(path, start, _OTHER_CONTENTS)
    encoding = "utf-8-sig"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
        text = start[: len(start) // 2 * 2].decode("utf-16", "replace")
    else:
        if start[1:2] == b"\0" or (start[:1] == b"\0" and start[1:2] not in (b"\0", b"")):
            raise InputFileError(
                f"{path}: is not text in UTF-8 (every other byte is one of the NUL bytes of UTF-16, without its mark). "
                "Save it as UTF-8."
            )
        text = start.decode("utf-8-sig", "replace")
    text = text.lstrip()
    if text.startswith("<") and _TEST_REPORT.search(text):
        return Source(path, FileFormat.JUNIT, packing, member, encoding)
    if re.match(r"<(!doctype|html|\?xml|head|body|!--|table|workbook)", text, re.IGNORECASE):
        raise InputFileError(
            f"{path}: is a web page or XML ({shown(text, 60)}), perhaps an error or a log-in page that was saved in "
            "place of the export. Download the export again, as CSV."
        )
    named_json = (member or path.name.removesuffix(".gz")).casefold().endswith(_JSON_SUFFIXES)
    if re.match(r"\[\s*([\[{\]]|$)", text):
        raise InputFileError(
            f"{path}: is a JSON list, expected one JSON object a line. Write it so, e.g. jq -c '.[]' {shown(path.name)}"
        )
    is_json = named_json or re.match(r'\{\s*(["}]|$)', text) is not None
    return Source(path, FileFormat.JSONL if is_json else FileFormat.CSV, packing, member, encoding)


def _refuse(path: Path, start: bytes, others: dict[bytes, str]) -> None:
    for signature, what in others.items():
        if start.startswith(signature):
            raise InputFileError(f"{path}: is {what}, then hand it in again.")


def _similar_names(path: Path) -> str:
    try:
        names = [item.name for item in path.parent.iterdir()]
    except OSError:
        return f" The folder {path.parent} cannot be read either."
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {near[0]}?" if near else f" Check the name, or list the folder: ls {path.parent}"
