"""Two hundred broken files, made by fixed seeds from good ones of every format, through the door where files land."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from flywheel_pipelines_tests.feedback.hostile_files import HEADER, zipped
from flywheel_pipelines_tests.feedback.landing_door import FEEDS, OTHER, OUTPUT, Door

SECONDS = 30
SEEDS = range(20)
N_FAST = 5
"""Seeds of every format that each run of the tests tries; the others are slow ones."""
ROWS = [
    f"{(OUTPUT, OTHER)[number % 2]},b{number},2026-01-{6 + number % 20:02},{number % 7},{100 + number},"
    + ('"A ""title"", and more"' if number % 3 else "Größe: 5 €")
    for number in range(40)
]
TEXT = "\n".join([HEADER, *ROWS]) + "\n"


def _json_lines() -> bytes:
    table = pyarrow.csv.read_csv(io.BytesIO(TEXT.encode()))
    return "\n".join(json.dumps(row, default=str, ensure_ascii=False) for row in table.to_pylist()).encode() + b"\n"


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pyarrow.csv.read_csv(io.BytesIO(TEXT.encode())), buffer)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[], bytes]] = {
    "file.csv": lambda: TEXT.encode(),
    "file.tsv": lambda: TEXT.replace(",", "\t").encode(),
    "marked.csv": lambda: b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(),
    "utf16.csv": lambda: TEXT.encode("utf-16"),
    "commented.csv": lambda: (
        f"# ---\n# Start date: 20260101\n# End date: 20260131\n{TEXT}\nCity,Users\nRome,3\n".encode()
    ),
    "file.csv.gz": lambda: gzip.compress(TEXT.encode(), mtime=0),
    "file.zip": lambda: zipped({"file.csv": TEXT.encode()}),
    "file.jsonl": _json_lines,
    "file.jsonl.gz": lambda: gzip.compress(_json_lines(), mtime=0),
    "file.parquet": _parquet,
}
"""Ten formats; each is broken in twenty ways."""


def broken(data: bytes, draw: random.Random) -> bytes:
    """The bytes after one to five mishaps."""
    for _ in range(draw.randint(1, 5)):
        data = draw.choice(MISHAPS)(data, draw)
    return data


def _flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randint(0, len(data))]


def _insert(data: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(data))
    what = draw.choice([b"\0", b'"', b"\xff\xfe", b"\n\n", b",", b"=1+1", b"NaN", b"1e309", b"[{", draw.randbytes(20)])
    return data[:at] + what * draw.choice([1, 1, 3, 1_000]) + data[at:]


def _repeat(data: bytes, draw: random.Random) -> bytes:
    first, last = sorted((draw.randint(0, len(data)), draw.randint(0, len(data))))
    return data[:last] + data[first:last] * draw.randint(1, 3) + data[last:]


def _shuffle(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    draw.shuffle(lines)
    return b"\n".join(lines)


def _remove(data: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(data))
    return data[:at] + data[at + draw.randint(1, 60) :]


MISHAPS = (_flip, _cut, _insert, _repeat, _shuffle, _remove)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door.make(tmp_path / "lake")


def broken_file(folder: Path, name: str, seed: int) -> Path:
    """The file of a seed. A packed one is broken inside every other time: else unpacking alone would be tried."""
    draw = random.Random(f"{name} {seed}")
    data = FORMATS[name]()
    if name.endswith(".gz") and seed % 2:
        data = gzip.compress(broken(gzip.decompress(data), draw), mtime=0)
    elif name.endswith(".zip") and seed % 2:
        data = zipped({"file.csv": broken(TEXT.encode(), draw)})
    else:
        data = broken(data, draw)
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(
    "seed", [seed if seed < N_FAST else pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS]
)
@pytest.mark.parametrize("name", FORMATS)
def test_a_broken_file_ends_in_rows_quarantine_or_words(door: Door, tmp_path: Path, name: str, seed: int) -> None:
    path = broken_file(tmp_path, name, seed)
    for feed in FEEDS:
        ended = door.hand_in(feed, path)
        assert (ended.error is None) == (ended.n_rows + ended.n_quarantined > 0)


def test_there_are_two_hundred() -> None:
    assert len(FORMATS) * len(SEEDS) == 200


@pytest.mark.parametrize("name", FORMATS)
def test_control_the_good_file_lands_whole(door: Door, tmp_path: Path, name: str) -> None:
    """Else two hundred refusals would prove nothing."""
    path = tmp_path / name
    path.write_bytes(FORMATS[name]())
    for feed in FEEDS:
        ended = door.hand_in(feed, path)
        assert (ended.error, ended.n_rows, ended.n_quarantined) == (None, len(ROWS), 0)


def test_control_some_broken_files_land_and_some_do_not(door: Door, tmp_path: Path) -> None:
    ends = [door.hand_in("numbers", broken_file(tmp_path, "file.csv", seed)) for seed in SEEDS]
    assert any(end.n_rows for end in ends)
    assert any(end.n_quarantined for end in ends)
    assert any(end.error for end in ends)


def test_a_seed_makes_the_same_file_every_time(tmp_path: Path) -> None:
    once = broken_file(tmp_path, "file.csv", 1).read_bytes()
    assert broken_file(tmp_path, "file.csv", 1).read_bytes() == once
