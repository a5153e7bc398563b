"""Files that no honest platform exports, by name: how each is made, and how it must end."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flywheel_pipelines_tests.feedback.landing_door import OTHER, OUTPUT

HEADER = "output_id,brief_id,date,clicks,impressions,title"
GOOD = f"{OUTPUT},b1,2026-01-06,3,100,A title"
ALSO_GOOD = f"{OTHER},b2,2026-01-07,4,200,Another"
TEXT = f"{HEADER}\n{GOOD}\n{ALSO_GOOD}\n"


@dataclass(frozen=True)
class Hostile:
    """A file, and its end: how many rows of metrics are taken, how many are put aside, or None for a refusal; words."""

    make: Callable[[Path], Path]
    taken: int | None
    aside: int
    words: str = ""


def content(data: str | bytes, name: str = "file.csv") -> Callable[[Path], Path]:
    """Makes a file of these bytes."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return make


def row(line: str | bytes, aside: int = 1, words: str = "") -> Hostile:
    """A good file with one bad row in the middle, which alone is put aside."""
    line = line.encode() if isinstance(line, str) else line
    data = f"{HEADER}\n{GOOD}\n".encode() + line + f"\n{ALSO_GOOD}\n".encode()
    return Hostile(content(data), 2, aside, words)


def cell(clicks: str, words: str) -> Hostile:
    """A good file with one bad count."""
    return row(f"{OUTPUT},b3,2026-01-08,{clicks},100,t", 1, words)


def refused(data: str | bytes, words: str, name: str = "file.csv") -> Hostile:
    """A file that cannot be used at all."""
    return Hostile(content(data, name), None, 0, words)


def zipped(members: dict[str, bytes], *, level: int = 6) -> bytes:
    """A zip of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def encrypted(data: bytes) -> bytes:
    """A zip whose member says that it is encrypted, in both of its headers."""
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    changed = bytearray(data)
    changed[local + 6] |= 1
    changed[central + 8] |= 1
    return bytes(changed)


def lying_size(data: bytes) -> bytes:
    """A zip whose directory says that its member is small."""
    central = data.index(b"PK\x01\x02")
    changed = bytearray(data)
    changed[central + 24 : central + 28] = (100).to_bytes(4, "little")
    return bytes(changed)


def _link_out(folder: Path) -> Path:
    outside = folder / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text(TEXT, encoding="utf-8")
    inbox = folder / "inbox"
    inbox.mkdir()
    (inbox / "link.csv").symlink_to(outside / "secret.csv")
    return inbox / "link.csv"


def _link_to_itself(folder: Path) -> Path:
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    return folder / "loop.csv"


def _link_to_nothing(folder: Path) -> Path:
    (folder / "gone.csv").symlink_to(folder / "nothing.csv")
    return folder / "gone.csv"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.csv")
    return folder / "pipe.csv"


def _name_of_bytes(folder: Path) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.csv"))
    path.write_text(TEXT, encoding="utf-8")
    return path


NESTED = "[" * 50_000 + "]" * 50_000
OBJECT = f'{{"output_id": "{OUTPUT}", "brief_id": "b1", "date": "2026-01-06", "clicks": 3, "impressions": 100}}'
WORKBOOK = zipped({"[Content_Types].xml": b"<Types/>", "xl/worksheets/sheet1.xml": b"<worksheet/>"})

HOSTILE: dict[str, Hostile] = {
    # rows
    "ragged_short": row(f"{OUTPUT},b3,2026-01-08", 1, "3 cells, the header has 6"),
    "ragged_long": row(f"{OUTPUT},b3,2026-01-08,1,100,t,x,y", 1, "8 cells, the header has 6"),
    "open_quote": row(f'{OUTPUT},b3,2026-01-08,1,100,"t', 1, "quote"),
    "stray_quote": row(f'{OUTPUT},b3,2026-01-08,1,100,"t"t', 1, "quote"),
    "formula_in_a_count": cell("=1+1", "not a number"),
    "formula_in_an_id": row("=cmd|' /C calc'!A0,b3,2026-01-08,1,100,t", 1, ""),
    "nan": cell("NaN", "not a number"),
    "infinity": cell("-inf", "not a number"),
    "above_the_largest_double": cell("1e309", "too large"),
    "four_hundred_digits": cell("9" * 400, "too large"),
    "negative": cell("-1", "negative"),
    "decimal_comma": cell('"3,5"', "not a whole number"),
    "thousands_separator": cell('"1,000"', "separator"),
    "other_digits": cell("٣", "plain digits"),
    "hexadecimal": cell("0x10", "plain digits"),
    "more_clicks_than_impressions": cell("101", "more clicks than impressions"),
    "month_first": row(f"{OUTPUT},b3,01/08/2026,1,100,t", 1, "not a day"),
    "no_such_day": row(f"{OUTPUT},b3,2026-02-30,1,100,t", 1, "not a day"),
    "year_nine_thousand": row(f"{OUTPUT},b3,9999-12-31,1,100,t", 1, "year"),
    "nul_in_an_id": row(f"{OUTPUT}\0,b3,2026-01-08,1,100,t", 1, "control characters"),
    "windows_1252_in_an_id": row(f"{OUTPUT}".encode() + b"\xe9,b3,2026-01-08,1,100,t", 1, "not UTF-8"),
    "statement_in_an_id": row("'); DROP TABLE metric_ledger; --,b3,2026-01-08,1,100,t"),
    "path_in_an_id": row("../../../etc/passwd,b3,2026-01-08,1,100,t"),
    "nothing_but_delimiters": row(",,,,,", 1, "empty"),
    "ten_million_characters": row(f"{'x' * 10_000_000},b3,2026-01-08,1,100,t", 1, "characters in one cell"),
    "quotes_in_every_line": Hostile(content(TEXT + 'x","y\n' * 300), 2, 300, "quote"),
    # whole files that can be read
    "byte_order_mark": Hostile(content(b"\xef\xbb\xbf" + TEXT.encode()), 2, 0),
    "utf16_with_its_mark": Hostile(content(TEXT.encode("utf-16")), 2, 0),
    "semicolons": Hostile(content(TEXT.replace(",", ";")), 2, 0),
    "empty_header_cells": Hostile(content(f"{HEADER},,\n{GOOD},,\n{ALSO_GOOD},x,y\n"), 2, 0),
    "all_line_ends_at_once": Hostile(content(f"{HEADER}\r\n{GOOD}\r{ALSO_GOOD}\n"), 2, 0),
    "no_data_extension": Hostile(content(TEXT, "file"), 2, 0),
    "text_named_gz": Hostile(content(TEXT, "file.csv.gz"), 2, 0),
    "line_of_json_nested_without_end": Hostile(
        content(f'{OBJECT}\n{{"output_id": {NESTED}}}\n', "f.jsonl"), 1, 1, "nested"
    ),
    "json_nan": Hostile(content(f"{OBJECT}\n{OBJECT.replace('3', 'NaN')}\n", "f.jsonl"), 1, 1, "NaN"),
    "json_key_twice": Hostile(content(f'{OBJECT}\n{OBJECT[:-1]}, "clicks": 4}}\n', "f.jsonl"), 1, 1, "more than once"),
    "json_number_of_5000_digits": Hostile(content(f"{OBJECT}\n{OBJECT.replace('3', '9' * 5000)}\n", "f.jsonl"), 1, 1),
    # whole files that cannot
    "empty": refused(b"", "is empty"),
    "header_only": refused(HEADER, "no rows"),
    "blank_lines_only": refused("\n" * 100, "no header"),
    "comments_only": refused("# a\n# b\n", "no header"),
    "wrong_delimiter": refused(TEXT.replace(",", "^"), "no column for"),
    "repeated_header": refused(f"{HEADER},clicks\n{GOOD},3\n", "more than once"),
    "a_hundred_thousand_columns": refused(
        ",".join(f"c{i}" for i in range(100_000)) + "\n" + "," * 99_999, "no column for"
    ),
    "nul_in_the_header": refused(TEXT.replace("clicks", "cli\0cks"), "NUL"),
    "windows_1252_in_the_header": refused(TEXT.replace("title", "titré").encode("cp1252"), "not UTF-8"),
    "utf16_without_its_mark": refused(TEXT.encode("utf-16-le"), "UTF-16"),
    "utf16_cut_off": refused(TEXT.encode("utf-16")[:-1], "UTF-16"),
    "utf32": refused(TEXT.encode("utf-32"), "UTF-32"),
    "one_line_without_end": refused("x" * 20_000_000, "no end"),
    "open_quote_in_the_header": refused('output_id,"brief_id\n' + TEXT, "header cannot be read"),
    "web_page": refused("<!DOCTYPE html><html><body>Please log in</body></html>", "web page"),
    "pdf": refused(b"%PDF-1.7\n%\xe2\xe3", "PDF"),
    "workbook_named_csv": refused(WORKBOOK, "Excel workbook"),
    "old_workbook_named_csv": refused(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "old Excel workbook"),
    "parquet_cut_off": refused(b"PAR1" + b"\0" * 64, "not a whole Parquet file"),
    "text_named_parquet": refused(TEXT, "named .parquet", "file.parquet"),
    "json_list": refused(f"[{OBJECT}]", "JSON list", "file.json"),
    "two_tables_alike": refused(f"# a\n# b\n{TEXT}\n# c\n{TEXT}", "2 of its tables"),
    # packed
    "gzip_cut_off": refused(gzip.compress(TEXT.encode() * 500)[:-20], "broken or cut off", "file.csv.gz"),
    "gzip_bomb": refused(gzip.compress(TEXT.encode() + b"x" * 60_000_000), "unpacks to more", "file.csv.gz"),
    "gzip_in_gzip": refused(gzip.compress(gzip.compress(TEXT.encode())), "packed file inside", "file.csv.gz"),
    "zip_bomb": refused(zipped({"a.csv": TEXT.encode() + b"x" * 60_000_000}), "unpacks to more", "file.zip"),
    "zip_bomb_that_lies": refused(lying_size(zipped({"a.csv": TEXT.encode() + b"x" * 60_000_000})), "", "file.zip"),
    "zip_in_zip": refused(zipped({"a.zip": zipped({"a.csv": TEXT.encode()})}), "packed file inside", "file.zip"),
    "zip_of_two": refused(zipped({"a.csv": TEXT.encode(), "b.csv": b"x"}), "exactly one data file", "file.zip"),
    "zip_of_none": refused(zipped({}), "exactly one data file", "file.zip"),
    "zip_of_a_way_out": refused(zipped({"../../evil.csv": TEXT.encode()}), "leads elsewhere", "file.zip"),
    "zip_of_an_absolute_path": refused(zipped({"/etc/evil.csv": TEXT.encode()}), "leads elsewhere", "file.zip"),
    "zip_encrypted": refused(encrypted(zipped({"a.csv": TEXT.encode()})), "encrypted", "file.zip"),
    "zip_cut_off": refused(zipped({"a.csv": TEXT.encode() * 50})[:-30], "broken or cut off", "file.zip"),
    # names and places
    "link_out_of_the_inbox": Hostile(_link_out, None, 0, "outside its own folder"),
    "link_to_itself": Hostile(_link_to_itself, None, 0, "link"),
    "link_to_nothing": Hostile(_link_to_nothing, None, 0, "no such file"),
    "pipe": Hostile(_pipe, None, 0, "not a regular file"),
    "folder": Hostile(lambda folder: folder, None, 0, "is a folder"),
    "missing": Hostile(lambda folder: folder / "nowhere.csv", None, 0, "no such file"),
    "name_with_a_line_break": Hostile(content(TEXT, "a\nb.csv"), None, 0, "cannot be shown"),
    "name_that_reads_backwards": Hostile(content(TEXT, "a\u202evsc.exe"), None, 0, "cannot be shown"),
    "name_of_bytes": Hostile(_name_of_bytes, None, 0, "cannot be shown"),
    "name_like_a_statement": Hostile(content(TEXT, "'; DROP TABLE x; --.csv"), 2, 0),
    "name_like_a_pattern": Hostile(content(TEXT, "*[a-z]?{x}.csv"), 2, 0),
}
