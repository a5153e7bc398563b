"""Reports of tests in JUnit XML, read as one row per test case.

Here: the columns a test case has, and reading them as a stream. Not here: whose output a test was about, which the
feed's columns say.

The columns are suite, classname, name, parameter (what stands in the brackets at the end of the name, as of pytest's
parametrised tests), run (1, or 0 when skipped), passed, failed, skipped (1 or 0), seconds, day (of the nearest suite's
`timestamp`, in UTC) and every property by its name. A case has the properties of the suites around it, and its own go
before them; one that is called like a column is `property.NAME`. An error counts as a failure; a test that failed and
then passed in a rerun has passed, as its report says.

Document types and entities are refused (`defusedxml`): a report has none, and by them a few bytes become gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import pyarrow as pa

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import RowProblem, text_array, too_long
from flywheel_pipelines.feedback.files.opening import Source
from flywheel_pipelines.feedback.files.packed import open_bytes

DAY = "day"
COLUMNS = ("suite", "classname", "name", "parameter", "run", "passed", "failed", "skipped", "seconds", DAY)
MOST_PROPERTIES = 500
MOST_LEVELS = 50
CHUNK_ROWS = 20_000
_PARAMETER = re.compile(r"\[([^\[\]]*)\]\s*$")
_BAD = ("failure", "error")
_Row = dict[str, str | None]


@dataclass
class _Suite:
    name: str | None
    timestamp: str | None
    properties: dict[str, str] = field(default_factory=dict)


class JunitRows:
    """Reads the test cases, chunk by chunk; `broken_cells` fills up on the way. No row of a report is broken alone."""

    def __init__(self, source: Source, columns: Sequence[str], *, limit: int) -> None:
        """Name what to read: `columns` are names of the header; `limit` is the most characters a cell may have."""
        self.n_rows = 0
        self.broken_rows: list[RowProblem] = []
        self.broken_cells: list[RowProblem] = []
        self._source, self._columns, self._limit = source, columns, limit

    def chunks(self) -> Iterator[list[pa.Array]]:
        """Row numbers and then one text column per wanted column, for some thousands of cases at a time.

        Raises:
            InputFileError: the report is not whole, or holds what no report has.
        """
        rows: list[list[str | None]] = []
        for case in _cases(self._source):
            self.n_rows += 1
            rows.append([self._checked(name, case.get(name)) for name in self._columns])
            if len(rows) >= CHUNK_ROWS:
                yield self._arrays(rows)
                rows = []
        yield self._arrays(rows)

    def _checked(self, name: str, value: str | None) -> str | None:
        if value is not None and len(value) > self._limit:
            self.broken_cells.append(too_long(self.n_rows, name, value, self._limit))
            return None
        return value

    def _arrays(self, rows: list[list[str | None]]) -> list[pa.Array]:
        numbers = list(range(self.n_rows - len(rows) + 1, self.n_rows + 1))
        arrays = [pa.array(numbers, pa.int64())]
        for position, name in enumerate(self._columns):
            array, problems = text_array([row[position] for row in rows], numbers, name)
            arrays.append(array)
            self.broken_cells.extend(problems)
        return arrays


def read_junit_header(source: Source) -> list[str]:
    """The columns that the test cases have; `day` only where a suite says when it ran.

    Raises:
        InputFileError: the report is not whole, holds no test case, or what no report has.
    """
    names: dict[str, None] = {}
    n_cases, has_day = 0, False
    for n_cases, case in enumerate(_cases(source), start=1):  # noqa: B007
        names.update(dict.fromkeys(name for name in case if name not in COLUMNS))
        has_day = has_day or case[DAY] is not None
        if len(names) > MOST_PROPERTIES:
            raise InputFileError(
                f"{source.path}: its test cases have more than {MOST_PROPERTIES} different properties. Names that are "
                "values (ids, times) belong into a property's value."
            )
    if not n_cases:
        raise InputFileError(f"{source.path}: holds no test case. Run the tests, and hand in their report again.")
    return [*(name for name in COLUMNS if has_day or name != DAY), *names]


def _cases(source: Source) -> Iterator[_Row]:
    # Here and not above: few feeds are reports.
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    with open_bytes(source.path, source.packing, source.member) as raw:
        try:
            yield from _walked(source, iterparse(raw, events=("start", "end"), forbid_dtd=True))
        except ParseError as error:
            line, column = error.position
            what = str(error).split(":")[0]
            raise InputFileError(
                f"{source.path}: is broken XML in line {line}, column {column} ({what}); nothing was taken from it. "
                "Let the test runner write the report to its end, and hand it in again."
            ) from error
        except (DefusedXmlException, LookupError, ValueError) as error:
            raise InputFileError(
                f"{source.path}: holds a document type, an entity or an encoding that no test report has "
                f"({type(error).__name__}); nothing was taken from it. Hand in the report as the test runner wrote it."
            ) from error


def _walked(source: Source, events: Iterator[tuple[str, Element]]) -> Iterator[_Row]:
    suites: list[_Suite] = []
    around: list[Element] = []
    own: dict[str, str] = {}
    for event, element in events:
        tag = _plain(element)
        if event == "start":
            around.append(element)
            if len(around) > MOST_LEVELS:
                raise InputFileError(f"{source.path}: is nested deeper than {MOST_LEVELS} levels, which no report is.")
            if tag in ("testsuite", "testsuites"):
                suites.append(_Suite(element.get("name"), element.get("timestamp")))
            elif tag == "testcase":
                own = {}
            continue
        around.pop()
        if tag == "property" and element.get("name"):
            value = element.get("value")
            is_own = any(_plain(one) == "testcase" for one in around)
            target = own if is_own else suites[-1].properties if suites else {}
            target[str(element.get("name"))] = value if value is not None else (element.text or "").strip()
        elif tag == "testcase":
            yield _case(element, suites, own)
            # What was read is let go, or a report of a night would stand in memory as a tree.
            around[-1].clear()
        elif tag in ("testsuite", "testsuites"):
            suites.pop()


def _case(element: Element, suites: Sequence[_Suite], own: dict[str, str]) -> _Row:
    tags = [_plain(child) for child in element]
    is_skipped = "skipped" in tags
    is_failed = not is_skipped and any(tag in _BAD for tag in tags)
    name = element.get("name")
    parameter = _PARAMETER.search(name or "")
    timestamp = next((suite.timestamp for suite in reversed(suites) if suite.timestamp), None)
    case: _Row = {
        "suite": next((suite.name for suite in reversed(suites) if suite.name), None),
        "classname": element.get("classname"),
        "name": name,
        "parameter": parameter[1] if parameter else None,
        "run": str(int(not is_skipped)),
        "passed": str(int(not is_skipped and not is_failed)),
        "failed": str(int(is_failed)),
        "skipped": str(int(is_skipped)),
        "seconds": element.get("time"),
        DAY: _day(timestamp),
    }
    properties: dict[str, Any] = {}
    for suite in suites:
        properties |= suite.properties
    for key, value in (properties | own).items():
        case[f"property.{key}" if key in COLUMNS else key] = value
    return case


def _day(timestamp: str | None) -> str | None:
    """The day of a timestamp in UTC; what is none stays as it is, for whoever reads days to say so."""
    if timestamp is None:
        return None
    try:
        moment = datetime.fromisoformat(timestamp.strip())
    except ValueError:
        return timestamp
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()


def _plain(element: Element) -> str:
    return element.tag.rpartition("}")[2]
