"""The pages about feeds: what they say, and that nothing outside of them is needed or can break them."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.feedback.contracts import Findings
from flywheel_pipelines.lake import tables
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.report.data_docs import write_data_docs
from flywheel_pipelines_tests.feedback.contract_lakes import (
    NAME,
    WEEKS,
    ContractLake,
    letters,
    measurement,
    output_id,
)
from flywheel_pipelines_tests.small_world import fingerprint

WEEK = WEEKS[0]
NASTY = "<script>alert(1)</script>.csv"


@pytest.fixture
def found(tmp_path: Path) -> list[Findings]:
    """A feed with a broken rule and too much in quarantine, and two without a file."""
    lake = ContractLake(tmp_path / "lake", letters()).publish(WEEKS[:2])
    lake.measure(WEEK, n_quarantined=9)
    lake.quarantine("mailer", f"mail-{WEEK}", 9)
    less = measurement(output_id(WEEK), "sends", 2.0, WEEK + timedelta(days=1))
    at = cycle_start(WEEKS[3])
    lake.put("mailer", tables.METRIC_LEDGER, [less], cycle=WEEK, batch="less", source=NASTY, recorded_at=at)
    return [lake.check(feed, WEEK) for feed in ("mailer", "desk", "ids")]


def written(paths: DataPaths, found: list[Findings]) -> dict[str, str]:
    pages = write_data_docs(paths, NAME, found)
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in [*pages.values(), pages["mailer"].with_name("index.html")]
    }


def test_a_page_says_what_was_found_where_and_what_to_do(tmp_path: Path, found: list[Findings]) -> None:
    page = written(DataPaths(tmp_path), found)["mailer.html"]
    for words in (
        "keeps its cycles from closing", "reply_rate_within_exposure", "broken, blocks", "known sends 2", "52.9%",
        "expect_column_pair_values_a_to_be_greater_than_b", "hand it in again under its name",
    ):  # fmt: skip
        assert words in page


def test_the_overview_links_every_feed(tmp_path: Path, found: list[Findings]) -> None:
    pages = written(DataPaths(tmp_path), found)
    assert set(re.findall(r'href="([^"]+)"', pages["index.html"])) == {"mailer.html", "desk.html", "ids.html"}
    assert "nothing has come in yet" in pages["index.html"]


def test_pages_need_nothing_but_themselves(tmp_path: Path, found: list[Findings]) -> None:
    for text in written(DataPaths(tmp_path), found).values():
        assert not re.search(r"(src|href)=\"(?!\w+\.html\")|url\(|@import|https?:", text)


def test_what_stands_in_a_file_stays_text(tmp_path: Path, found: list[Findings]) -> None:
    page = written(DataPaths(tmp_path), found)["mailer.html"]
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_pages_are_well_formed(tmp_path: Path, found: list[Findings]) -> None:
    class Balance(HTMLParser):
        open_tags: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "br", "img"):
                self.open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open_tags.pop() == tag

    for text in written(DataPaths(tmp_path), found).values():
        parser = Balance()
        parser.open_tags = []
        parser.feed(text)
        assert parser.open_tags == []


def test_the_same_findings_give_the_same_bytes_and_nothing_half_written_stays(
    tmp_path: Path, found: list[Findings]
) -> None:
    paths = DataPaths(tmp_path)
    written(paths, found)
    first = fingerprint(paths.reports)
    written(paths, found)
    assert fingerprint(paths.reports) == first
    assert {Path(path).name for path in first} == {"index.html", "mailer.html", "desk.html", "ids.html"}
