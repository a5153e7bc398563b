"""Opening a file that may be missing, a folder, empty, packed, cut off, or something else than its name says.

Here: what kind of file it is (by its first bytes, never by its name) and a text stream over it.
Not here: rows. Whatever goes wrong with the file as a whole is an InputFileError that says what to do.
"""

from __future__ import annotations

import codecs
import contextlib
import difflib
import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from flywheel_pipelines.errors import InputFileError


class FileKind(StrEnum):
    """What the first bytes say that a file is."""

    TEXT = "text"
    GZIP = "gzip"
    PARQUET = "parquet"


HIGHEST_RATIO = 500
"""Text rarely packs to less than a fiftieth; gzip's limit, reached by one byte repeated, is about 1,000."""
MIN_UNPACKED_LIMIT = 1 << 24

_REFUSED = {
    b"PK\x03\x04": "a zip file (or an Excel workbook). Unpack it, or export the sheet as CSV",
    b"\xff\xfe": "UTF-16 text. Save it as UTF-8",
    b"\xfe\xff": "UTF-16 text. Save it as UTF-8",
    b"BZh": "a bzip2 file. Unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "a zstd file. Unpack it, or pack it with gzip",
    b"\xfd7zXZ": "an xz file. Unpack it, or pack it with gzip",
}


def kind_of(path: Path) -> FileKind:
    """What kind of file this is.

    Raises:
        InputFileError: it is missing, not a regular file, unreadable, empty, or of a kind that is not read here.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputFileError(f"{path}: is a folder, expected a file. Name one file in it.")
        if not stat.S_ISREG(mode):
            # A pipe or a device could keep us waiting for ever.
            raise InputFileError(f"{path}: is not a regular file. Write it to disk first and name that file.")
        with path.open("rb") as handle:
            start = handle.read(8)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputFileError(f"{path}: no such file.{_similar_names(path)}") from error
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror}). Check its name and permissions.") from error
    if not start:
        raise InputFileError(f"{path}: is empty (0 bytes), expected a header and rows. Export it again.")
    for signature, what in _REFUSED.items():
        if start.startswith(signature):
            raise InputFileError(f"{path}: is {what}, then hand it in again.")
    if start.startswith(b"PAR1"):
        return FileKind.PARQUET
    if path.suffix == ".parquet":
        raise InputFileError(
            f"{path}: is named .parquet but does not begin like a Parquet file. "
            "Export it again, or give it the name of what it is (.csv, .csv.gz)."
        )
    if start.startswith(b"\x1f\x8b"):
        return FileKind.GZIP
    if path.suffix == ".gz" and any(byte < 9 or byte > 126 for byte in start.removeprefix(codecs.BOM_UTF8)):
        raise InputFileError(
            f"{path}: is named .gz but the gzip data is broken from its start. Copy or export it again."
        )
    # Browsers unpack downloads and keep the name: text that is named .gz is read as text.
    return FileKind.TEXT


@contextlib.contextmanager
def open_text(path: Path, kind: FileKind) -> Iterator[io.TextIOWrapper]:
    """The file's text as UTF-8 without its byte-order mark; bytes that are not UTF-8 arrive as lone surrogates.

    Raises:
        InputFileError: the packed data is broken or ends early, also when that shows only while reading.
    """
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(path.open("rb"))
            if kind is FileKind.GZIP:
                unpacked = _Unpacked(stack.enter_context(gzip.open(raw)), path)
                raw = cast(BinaryIO, stack.enter_context(io.BufferedReader(unpacked, 1 << 18)))
            # newline="" leaves line breaks inside quoted cells as they are.
            yield stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline=""))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputFileError(
            f"{path}: the gzip data is broken or cut off ({error}). Nothing was taken from it. "
            f"Copy or export the file again; `gzip -t {path.name}` tells whether it is whole."
        ) from error


class _Unpacked(io.RawIOBase):
    """Unpacked gzip data, up to an amount that no honest text reaches."""

    def __init__(self, packed: gzip.GzipFile, path: Path) -> None:
        self._packed, self._path = packed, path
        self._limit = max(MIN_UNPACKED_LIMIT, path.stat().st_size * HIGHEST_RATIO)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._packed.seek(offset, whence)

    def tell(self) -> int:
        return self._packed.tell()

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._packed.tell() > self._limit:
            raise InputFileError(
                f"{self._path}: unpacks to more than {HIGHEST_RATIO} times its size, which no text does. "
                "Nothing was taken from it. Unpack it yourself and look at it before handing it in."
            )
        return self._packed.readinto(buffer)


def _similar_names(path: Path) -> str:
    try:
        names = [item.name for item in path.parent.iterdir()]
    except OSError:
        return f" The folder {path.parent} cannot be read either."
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {near[0]}?" if near else f" Check the name, or list the folder: ls {path.parent}"
