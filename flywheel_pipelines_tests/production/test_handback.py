"""A shop's export goes back as it came, to the byte, but for the columns that are written."""

from __future__ import annotations

import csv
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.production.handback import BOM, joined, raw_records, with_cells

HEADER = ["Handle", "Title", "Body (HTML)", "Variant SKU", "SEO Title", "Status"]
WRITTEN = ["Body (HTML)", "SEO Title"]
ODD = [
    'say "yes"',
    "two\nlines",
    "a, b",
    "☕🎁",
    "مصنوع باليد",
    '<p class="x">Körbe &amp; <b>mehr</b></p>',
    "",
    " pad ",
    "'=1+1",
]


def shop_export(n_products: int, end: str, *, quote_all: bool = False) -> bytes:
    """An export of products, a part of them with variant rows that leave title and body blank."""
    rng = random.Random(n_products)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    writer.writerow(HEADER)
    for number in range(n_products):
        handle = f"product-{number}"
        writer.writerow([handle, f"{rng.choice(ODD)} {number}", rng.choice(ODD), "s-1", rng.choice(ODD), "active"])
        for variant in range(rng.randrange(4)):
            writer.writerow([handle, "", "", f"s-{variant + 2}", "", ""])
    return text.getvalue().encode()


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("quote_all", [False, True])
def test_a_thousand_products_survive_byte_for_byte(end: str, mark: bytes, quote_all: bool) -> None:
    data = mark + shop_export(1_000, end, quote_all=quote_all)
    before = rows_of(data)
    written = {
        number: {"Body (HTML)": f'<p>New "{number}",\nبيت ☕</p>', "SEO Title": f"T {number}"}
        for number, row in enumerate(before, start=1)
        if row["Title"]
    }
    assert len(written) == 1_000 < len(before)
    result = with_cells(data, written, WRITTEN)
    # Bytes: every cell of every other column, what stands between cells, and whole rows that nothing was written to.
    old, new = (list(raw_records(one.removeprefix(BOM))) for one in (data, result))
    assert len(old) == len(new)
    kept = [position for position, name in enumerate(HEADER) if name not in WRITTEN]
    for number, (was, now) in enumerate(zip(old, new, strict=True)):
        assert (
            (was == now)
            if number not in written
            else ([was.cells[at] for at in kept] == [now.cells[at] for at in kept])
        )
        assert was.end == now.end
    assert result.startswith(mark)
    # And as any reader of CSV sees it.
    after = rows_of(result)
    for number, (was, now) in enumerate(zip(before, after, strict=True), start=1):
        assert now == was | written.get(number, {})


def test_control_a_csv_writer_would_change_what_nobody_asked_to_change() -> None:
    data = b'Handle,Title\r\n"a",plain\n'
    text = io.StringIO(newline="")
    csv.writer(text).writerows(csv.reader(io.StringIO(data.decode(), newline="")))
    assert text.getvalue().encode() != data
    assert with_cells(data, {}, []) == data
    assert with_cells(data, {1: {"Title": "x"}}, ["Title"]) == b'Handle,Title\r\n"a",x\n'


@given(st.binary(max_size=60).filter(lambda data: b'"' not in data))
@settings(max_examples=300, deadline=None)
def test_taken_apart_and_joined_any_bytes_are_the_same(data: bytes) -> None:
    assert joined(list(raw_records(data))) == data


cells = st.text(st.sampled_from('ab",\r\n ü☕'), max_size=6)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=5), cells)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back_whatever_it_holds(rows: list[tuple[str, str, str]], new: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("x", "y", "z"), *[("k", *row[1:]) for row in rows]])
    data = text.getvalue().encode()
    result = with_cells(data, {len(rows): {"y": new}}, ["y"])
    wanted = new.replace("\r\n", "\n").replace("\r", "\n")
    before, after = (list(csv.reader(io.StringIO(one.decode(), newline=""))) for one in (data, result))
    assert after[-1][1] == wanted
    assert [row[:1] + row[2:] for row in after] == [row[:1] + row[2:] for row in before]
    assert after[:-1] == before[:-1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Handle,Body\na,b\n", "no column 'SEO Title'"),
        (b"Handle,SEO Title\n", "row 1, whose text is there, is missing"),
        (b"Handle,SEO Title\na\n", "row 1 ends before its column"),
        (b'Handle,SEO Title\na,b"c\n', ""),
        (b'Handle,SEO Title\na,"never closed\n', "no CSV"),
    ],
)
def test_a_file_that_cannot_be_written_to_is_refused(data: bytes, words: str) -> None:
    if not words:
        assert with_cells(data, {1: {"SEO Title": "x"}}, ["SEO Title"]) == b"Handle,SEO Title\na,x\n"
        return
    with pytest.raises(FlywheelError, match=words):
        with_cells(data, {1: {"SEO Title": "x"}}, ["SEO Title"])
