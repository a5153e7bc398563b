"""Which output a row is about: by tag, by address, by the id a platform gave; nobody's and ambiguous rows."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel_pipelines.feedback.attribution import Nobody, Output, attribute, find_cycles, now_known
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines_tests.feedback.metric_world import AT, NAME, WEEKS, Desk, mail_spec, publish, published_lake

LINKS = {"kind": "outputs"}


def desk(root: Path, **feed: Any) -> Desk:
    return Desk(root, mail_spec(mailer=feed, links=LINKS))


def found(at: Desk, text: str) -> str:
    """The output that a cell names, or the kind of problem."""
    one = attribute(at.lake, at.spec, at.spec.feeds["mailer"], [text])[text]
    return one.output_id if isinstance(one, Output) else one.code


def link(at: Desk, *rows: str, days: int = 0) -> None:
    at.land("output_id,external_id", *rows, feed="links", at=AT + timedelta(days=days))


# -- by tag ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "outcome"),
    [("aaaa", "aaaa"), (" aaaa\u00a0", "aaaa"), ("zzzz", "unmatched"), ("", "invalid"), ("a\x07", "invalid")],
)
def test_a_tag_names_its_output(tmp_path: Path, text: str, outcome: str) -> None:
    assert found(desk(tmp_path), text) == outcome


# -- by address ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "outcome"),
    [
        ("https://example.com/a?utm_content=aaaa", "aaaa"),
        ("https://example.com/a?x=1&UTM_Content=AAAA#top", "aaaa"),
        ("/a?utm_content=%61aaa&utm_source=mail", "aaaa"),
        ("https://example.com/a?utm_content=aaaa&utm_content=aaaa", "aaaa"),
        ("https://example.com/a?utm_content=aaaa&utm_content=bbbb", "ambiguous"),
        ("https://example.com/a?utm_content=zzzz", "unmatched"),
        ("https://example.com/a", "unmatched"),
        ("http://[broken", "unmatched"),
        ("", "invalid"),
    ],
)
def test_the_parameter_of_an_address_names_its_output(tmp_path: Path, address: str, outcome: str) -> None:
    assert found(desk(tmp_path, join="url"), address) == outcome


def test_the_parameter_is_the_feeds_own(tmp_path: Path) -> None:
    at = desk(tmp_path, join="url", url_parameter="variant")
    assert found(at, "https://example.com/a?variant=bbbb&utm_content=aaaa") == "bbbb"


@pytest.mark.parametrize(
    "address",
    [
        "https://www.Example.com/dog%20beds/",
        "http://example.com:80/dog%20beds?utm_source=x&fbclid=y#reviews",
        "example.com/dog beds",
    ],
)
def test_a_whole_address_is_found_however_it_is_spelt(tmp_path: Path, address: str) -> None:
    at = desk(tmp_path, join="url")
    link(at, "cccc,https://example.com/dog%20beds")
    assert found(at, address) == "cccc"


@pytest.mark.parametrize(
    "address", ["https://example.com/dog", "https://example.com/dog%20beds?page=2", "https://other.com/dog%20beds"]
)
def test_control_another_page_is_another_address(tmp_path: Path, address: str) -> None:
    at = desk(tmp_path, join="url")
    link(at, "cccc,https://example.com/dog%20beds")
    assert found(at, address) == "unmatched"


# -- by the id of a platform -----------------------------------------------------------------------------------------
def test_an_external_id_names_the_output_that_a_file_of_outputs_gives_it(tmp_path: Path) -> None:
    at = desk(tmp_path, join="external_id")
    link(at, "aaaa,campaign-1", "bbbb,campaign-2")
    batch = at.land("external_id,date,sends,replies", "campaign-2,2026-01-06,40,2", "campaign-3,2026-01-06,4,2")
    assert [row["output_id"] for row in at.ledger()] == ["bbbb", "bbbb"]
    assert (at.aside(), at.header(batch)["n_unmatched"]) == ([(2, "external_id", "unmatched")], 1)


def test_an_id_of_two_outputs_is_ambiguous_and_says_which(tmp_path: Path) -> None:
    at = desk(tmp_path, join="external_id")
    link(at, "aaaa,campaign-1", "bbbb,campaign-1")
    batch = at.land("external_id,date,sends,replies", "campaign-1,2026-01-06,40,2")
    assert (at.aside(), at.header(batch)["n_unmatched"]) == ([(1, "external_id", "ambiguous")], 1)
    assert "aaaa, bbbb" in batch.problems[0].reason


def test_a_later_file_of_outputs_corrects_what_an_id_names(tmp_path: Path) -> None:
    at = desk(tmp_path, join="external_id")
    link(at, "aaaa,campaign-1", "bbbb,campaign-1")
    link(at, "bbbb,campaign-1", days=1)
    assert found(at, "campaign-1") == "bbbb"


def test_an_output_that_was_never_published_is_put_aside_and_not_linked(tmp_path: Path) -> None:
    at = desk(tmp_path, join="external_id")
    link(at, "zzzz,campaign-1", "aaaa,")
    assert at.aside() == [(1, "output_id", "unmatched"), (2, "external_id", "invalid")]
    assert at.lake.read(tables.OUTPUT_LINKS, NAME).num_rows == 0


def test_rows_that_were_nobodys_are_found_once_a_file_of_outputs_names_them(tmp_path: Path) -> None:
    at = desk(tmp_path, join="external_id", columns={"external_id": "Campaign"})
    rows = [{"Campaign": "campaign-1"}, {"Campaign": "campaign-2"}, {"Campaign": None}]
    assert now_known(at.lake, at.spec, "mailer", rows) == [False, False, False]
    link(at, "aaaa,campaign-1")
    assert now_known(at.lake, at.spec, "mailer", rows) == [True, False, False]


# -- where it is looked for ------------------------------------------------------------------------------------------
class ReadsNoted(Lake):
    """A lake that notes which cycles were looked into."""

    looked: list[date]

    def values(self, table: Any, flywheel: str, cycle: date, column: str) -> Any:
        self.looked.append(cycle)
        return super().values(table, flywheel, cycle, column)


def test_the_cycles_around_the_days_are_enough_for_what_they_published(tmp_path: Path) -> None:
    published_lake(tmp_path, {week: (f"output{week}",) for week in range(12)})
    lake = ReadsNoted(tmp_path / "lake")
    lake.looked = []
    days = (WEEKS[8], WEEKS[9] + timedelta(days=3))
    assert find_cycles(lake, mail_spec(mailer={}), ["output8"], days) == {"output8": WEEKS[8]}
    assert set(lake.looked) == {WEEKS[6], WEEKS[7], WEEKS[8], WEEKS[9]}


def test_what_is_left_over_is_looked_for_in_all_of_history(tmp_path: Path) -> None:
    published_lake(tmp_path, {week: (f"output{week}",) for week in range(12)})
    lake = ReadsNoted(tmp_path / "lake")
    lake.looked = []
    wanted = ["output0", "output11", "output8", "nobody"]
    expected = {f"output{week}": WEEKS[week] for week in (0, 8, 11)}
    assert find_cycles(lake, mail_spec(mailer={}), wanted, (WEEKS[8], WEEKS[8])) == expected
    assert set(lake.looked) == set(WEEKS)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["aaaa", "bbbb", "cccc", "dddd", "eeee", "zzzz"]), unique=True),
    st.tuples(st.integers(0, 80), st.integers(0, 80)),
)
def test_the_days_change_nothing_about_what_is_found(tmp_path: Path, ids: list[str], days: tuple[int, int]) -> None:
    lake, spec = published_lake(tmp_path), mail_spec(mailer={})
    first, last = (WEEKS[0] + timedelta(days=day) for day in sorted(days))
    assert find_cycles(lake, spec, ids, (first, last)) == find_cycles(lake, spec, ids)


def test_an_output_published_for_two_arms_is_one(tmp_path: Path) -> None:
    at = desk(tmp_path)
    publish(at.lake, WEEKS[3], ["ffff"])
    assert found(at, "ffff") == "ffff"


def test_nobody_says_what_to_do(tmp_path: Path) -> None:
    at = desk(tmp_path)
    one = attribute(at.lake, at.spec, at.spec.feeds["mailer"], ["zzzz"])["zzzz"]
    assert isinstance(one, Nobody)
    assert "tracking tag" in one.reason
