"""Reports of tests in JUnit XML: cases become measures of outputs; what is broken or hostile is refused in words."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.feeds import FeedBatch
from flywheel_pipelines.feedback.files import read_header
from flywheel_pipelines.feedback.landing import land_file, record_unusable_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.spec import FlywheelSpec, parse_spec
from flywheel_pipelines_tests.feedback.metric_world import AT, FIRST, NAME, Desk

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites>
  <testsuite name="browser" timestamp="2026-01-06T23:30:00-02:00">
    <properties><property name="output_id" value="aaaa"/><property name="name" value="of the suite"/></properties>
    <testcase classname="form" name="test_opens" time="0.5"/>
    <testcase classname="form" name="test_sends[fast]" time="1.25"><failure message="no">trace</failure></testcase>
    <testcase classname="form" name="test_prints"><skipped/></testcase>
    <testcase classname="form" name="test_other" time="2">
      <properties><property name="output_id">bbbb</property></properties>
    </testcase>
    <testcase classname="form" name="test_dies" time="0.25"><error/></testcase>
  </testsuite>
</testsuites>
"""


def spec(**feed: Any) -> FlywheelSpec:
    attributes = {
        "name": NAME,
        "start": FIRST.isoformat(),
        "producer": {"kind": "archive"},
        "metrics": {"pass_rate": {"kind": "rate", "successes": "tests_passed", "exposure": "tests_run"}},
        "floor": {"metric": "pass_rate", "above": "mean", "min_exposure": 30},
        "feeds": {"ci": {"preset": "junit", "path": "ci/*.xml", **feed}},
    }
    return parse_spec(attributes, "a test")


def desk(root: Path, **feed: Any) -> Desk:
    return Desk(root, spec(**feed))


def land(at: Desk, text: str, name: str = "report.xml") -> None:
    at.land(text, name=name, feed="ci")


def hand_in(at: Desk, path: Path) -> FeedBatch:
    return land_file(at.lake, at.spec, "ci", path, recorded_at=AT)[0]


def test_cases_add_up_to_measures_of_the_output_that_a_property_names(tmp_path: Path) -> None:
    at = desk(tmp_path)
    land(at, REPORT)
    # 23:30 two hours west of Greenwich is the next day.
    assert at.known() == {
        ("aaaa", "tests_run", 2): 3.0,
        ("aaaa", "tests_passed", 2): 1.0,
        ("aaaa", "test_seconds", 2): 2.0,
        ("bbbb", "tests_run", 2): 1.0,
        ("bbbb", "tests_passed", 2): 1.0,
        ("bbbb", "test_seconds", 2): 2.0,
    }
    assert at.aside() == []


def test_the_columns_of_a_report(tmp_path: Path) -> None:
    path = tmp_path / "r.xml"
    path.write_text(REPORT)
    columns = ["suite", "classname", "name", "parameter", "run", "passed", "failed", "skipped", "seconds", "day"]
    assert read_header(path) == [*columns, "output_id", "property.name"]
    path.write_text(REPORT.replace(' timestamp="2026-01-06T23:30:00-02:00"', ""))
    assert "day" not in read_header(path), "then the days come from the file's name, as for any file without"


@pytest.mark.parametrize(("column", "name"), [("parameter", "test_sends[aaaa]"), ("classname", "x"), ("name", "aaaa")])
def test_an_output_may_be_named_by_the_name_of_its_test(tmp_path: Path, column: str, name: str) -> None:
    at = desk(tmp_path, columns={"output_id": column})
    classname = "aaaa" if column == "classname" else "form"
    case = f'<testcase classname="{classname}" name="{name}" time="1"/>'
    land(at, f'<testsuite timestamp="2026-01-06T10:00:00">{case}</testsuite>')
    assert at.known()[("aaaa", "tests_passed", 1)] == 1.0


def test_a_case_about_nobody_or_without_a_time_that_is_one_is_put_aside(tmp_path: Path) -> None:
    at = desk(tmp_path)
    text = REPORT.replace(">bbbb<", ">zzzz<").replace('time="1.25"', 'time="soon"')
    land(at, text.replace('<testcase classname="form" name="test_opens" time="0.5"/>', ""))
    assert at.aside() == [(1, "seconds", "invalid"), (3, "output_id", "unmatched")]
    assert at.known()[("aaaa", "tests_run", 2)] == 1.0


def test_a_packed_report_is_the_same(tmp_path: Path) -> None:
    at = desk(tmp_path)
    path = tmp_path / "report.xml.gz"
    path.write_bytes(gzip.compress(REPORT.encode()))
    assert hand_in(at, path).n_rows == 5


BOMB = (
    '<!DOCTYPE testsuite [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<testsuite name="&b;"><testcase name="x"/></testsuite>'
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (REPORT[:400], r"broken XML in line 7, column \d+"),
        (REPORT.replace("</testsuite>", ""), "broken XML in line"),
        (BOMB, "a document type, an entity"),
        ('<!DOCTYPE testsuite SYSTEM "file:///etc/passwd"><testsuite><testcase/></testsuite>', "a document type"),
        ("<testsuite>" * 60 + "</testsuite>" * 60, "deeper than 50"),
        ("<testsuite></testsuite>", "holds no test case"),
        ('<?xml version="1.0" encoding="klingon"?><testsuite><testcase/></testsuite>', "encoding"),
        ("<html><body>Log in</body></html>", "a web page or XML"),
    ],
)  # fmt: skip
def test_what_is_no_whole_report_is_refused_and_waits_in_quarantine(tmp_path: Path, text: str, said: str) -> None:
    at = desk(tmp_path)
    path = at.file(text, name="report.xml")
    with pytest.raises(InputFileError, match=said) as refused:
        hand_in(at, path)
    assert "report.xml" in str(refused.value)
    assert at.known() == {}
    record_unusable_file(at.lake, at.spec, "ci", path, refused.value, recorded_at=AT)
    [row] = at.lake.read(tables.QUARANTINE, NAME).to_pylist()
    assert (row["field"], row["problem"]) == ("(file)", "unreadable")
    assert "report.xml" in row["reason"]


def test_a_report_that_pytest_wrote_lands_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "test_form.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('output_id', ['aaaa', 'bbbb'])\n"
        "@pytest.mark.parametrize('n', [1, 2, 3])\n"
        "def test_form(output_id, n, record_property):\n"
        "    record_property('output_id', output_id)\n"
        "    assert output_id == 'aaaa' or n > 1\n"
        "def test_of_the_house():\n"
        "    pytest.skip('about no output')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir=."]
    subprocess.run([*command, "--junitxml=report.xml", "test_form.py"], cwd=tmp_path, check=False, capture_output=True)
    report = tmp_path / "report.xml"
    # It ran today; the outputs were published long before, and the file is handed in as of a day it may be about.
    day = report.read_text().split('timestamp="')[1][:10]
    report.write_text(report.read_text().replace(day, "2026-01-06"))
    at = desk(tmp_path)
    hand_in(at, report)
    known = {key[:2]: value for key, value in at.known().items()}
    assert (known["aaaa", "tests_run"], known["aaaa", "tests_passed"]) == (3.0, 3.0)
    assert (known["bbbb", "tests_run"], known["bbbb", "tests_passed"]) == (3.0, 2.0)
    assert known["aaaa", "test_seconds"] >= 0
    assert [problem for *_, problem in at.aside()] == ["invalid"], "the test that names no output"
