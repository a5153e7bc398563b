"""The physical lines of a text: bounded in length, and able to be read again.

Not here: what the lines mean (`csv_rows`, `jsonl_rows`, `layout`).
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Sequence

from flywheel_pipelines.feedback.files.cells import SHOWN

LONGEST_CELL = 1 << 24
"""Characters after which Python's csv gives a cell up; else one open quote would hold the whole file in memory."""
LONGEST_LINE = 1 << 25


class LineTooLongError(Exception):
    """A physical line above LONGEST_LINE; its rest was skipped."""


class Lines:
    """Lines of a stream from `first` (counted from 0) up to but not including `end`; `number` counts from the start."""

    def __init__(self, stream: io.TextIOWrapper, *, first: int = 0, end: int | None = None) -> None:
        self.number = 0
        self.of_record: list[str] = []
        self._stream, self._end = stream, end
        self._again: deque[str] = deque()
        while self.number < first and stream.readline(LONGEST_LINE):
            self.number += 1

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        if self._end is not None and self.number >= self._end:
            raise StopIteration
        line = self._again.popleft() if self._again else self._stream.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) >= LONGEST_LINE and line[-1] not in "\r\n":
            while (rest := self._stream.readline(LONGEST_LINE)) and rest[-1] not in "\r\n":
                pass
            self.of_record.append(line[:SHOWN])
            raise LineTooLongError
        self.of_record.append(line)
        return line

    def reread(self, lines: Sequence[str]) -> None:
        """Put lines back in front."""
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)
