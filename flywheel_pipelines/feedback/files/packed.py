"""Unpacking gzip and zip: one data file, within limits that no honest export reaches, and never onto the disk.

Not here: what the unpacked bytes are (`opening`).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import names_shown, shown

HIGHEST_RATIO = 500
"""Text rarely packs to less than a fiftieth; gzip's limit, reached by one byte repeated, is about 1,000."""
MIN_UNPACKED_LIMIT = 1 << 24
HIGHEST_SIZE = 1 << 33
"""Unpacked bytes above which a packed file is refused whatever its ratio: 8 GiB, some hundred million rows."""
BUFFER = 1 << 18

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)
"""What zipfile raises on broken archives: it translates few of the errors of what it is made of."""
_NOT_DATA = ("__MACOSX/", ".DS_Store", "Thumbs.db")
_ENCRYPTED = 0x1


class Packing(StrEnum):
    """How the bytes of a file are packed."""

    NONE = "none"
    GZIP = "gzip"
    ZIP = "zip"


def zip_member(path: Path) -> str:
    """The name of the one data file in a zip.

    Raises:
        InputFileError: it is broken, encrypted, an Excel workbook, or holds none, several, or one whose name is a path
            that leads elsewhere.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except _ZIP_ERRORS as error:
        raise _broken_zip(path, error) from error
    names = [member.filename for member in members]
    if "[Content_Types].xml" in names:
        raise InputFileError(f"{path}: is an Excel workbook (or another Office file). Export the sheet as CSV.")
    data = [member for member in members if not member.is_dir() and not _is_by_the_way(member.filename)]
    if len(data) != 1:
        found = f"{len(data)}: {names_shown([member.filename for member in data], 10)}" if data else "none"
        raise InputFileError(
            f"{path}: a zip file is to hold exactly one data file, found {found}. "
            "Unpack it, and hand in the files one by one."
        )
    (member,) = data
    _check_member(path, member)
    return member.filename


@contextlib.contextmanager
def open_bytes(path: Path, packing: Packing, member: str = "") -> Iterator[BinaryIO]:
    """The unpacked bytes, to be read once from the start.

    Raises:
        InputFileError: the packed data is broken, ends early, or unpacks to more than an export can be.
    """
    if packing is Packing.NONE:
        with path.open("rb") as raw:
            yield raw
    elif packing is Packing.GZIP:
        with _broken_gzip_said(path), path.open("rb") as raw, gzip.open(raw) as unpacked:
            yield _limited(cast(IO[bytes], unpacked), path, packing)
    else:
        with contextlib.ExitStack() as stack:
            try:
                archive = stack.enter_context(zipfile.ZipFile(path))
                unpacked = stack.enter_context(archive.open(member))
            except _ZIP_ERRORS as error:
                raise _broken_zip(path, error) from error
            yield _limited(unpacked, path, packing)


@contextlib.contextmanager
def _broken_gzip_said(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputFileError(
            f"{path}: the gzip data is broken or cut off ({error}). Nothing was taken from it. "
            f"Copy or export the file again; `gzip -t {path.name}` tells whether it is whole."
        ) from error


def _limited(unpacked: IO[bytes], path: Path, packing: Packing) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Unpacked(unpacked, path, packing), BUFFER))


class _Unpacked(io.RawIOBase):
    """Unpacked data, up to an amount that no honest text reaches."""

    def __init__(self, unpacked: IO[bytes], path: Path, packing: Packing) -> None:
        self._unpacked, self._path, self._packing = unpacked, path, packing
        self._n_read = 0
        self._limit = min(max(MIN_UNPACKED_LIMIT, path.stat().st_size * HIGHEST_RATIO), HIGHEST_SIZE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._n_read > self._limit:
            raise too_large(self._path)
        try:
            chunk = self._unpacked.read(len(buffer))
        except _ZIP_ERRORS as error:
            # gzip's own errors are translated where the file is opened.
            if self._packing is Packing.ZIP:
                raise _broken_zip(self._path, error) from error
            raise
        buffer[: len(chunk)] = chunk
        self._n_read += len(chunk)
        return len(chunk)


def too_large(path: Path) -> InputFileError:
    """The refusal of what unpacks without end."""
    return InputFileError(
        f"{path}: unpacks to more than {HIGHEST_RATIO} times its size (or than {HIGHEST_SIZE >> 30} GiB), "
        "which no text does. Nothing was taken from it. Unpack it yourself and look at it before handing it in."
    )


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = shown(member.filename)
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    has_drive = member.filename[1:2] == ":"
    if ".." in parts or parts[:1] == ("/",) or "\\" in member.filename or has_drive or name != member.filename:
        # Nothing is ever unpacked to disk here; whoever names a member like this means harm to somebody.
        raise InputFileError(
            f"{path}: the file inside is named {name}, a path that leads elsewhere. "
            "Look at where the zip comes from; pack the file under a plain name."
        )
    if member.flag_bits & _ENCRYPTED:
        raise InputFileError(f"{path}: is encrypted. Unpack it with its password, and hand in the file inside.")
    if member.file_size > min(max(MIN_UNPACKED_LIMIT, path.stat().st_size * HIGHEST_RATIO), HIGHEST_SIZE):
        raise too_large(path)


def _is_by_the_way(name: str) -> bool:
    return name.startswith(_NOT_DATA) or name.endswith(_NOT_DATA)


def _broken_zip(path: Path, error: Exception) -> InputFileError:
    return InputFileError(
        f"{path}: begins like a zip file (or an Excel workbook), and is broken or cut off ({shown(str(error))}). "
        "Nothing was taken from it. Copy or export it again."
    )
