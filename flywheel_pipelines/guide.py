"""The analyst's guide: its questions, and their answers from the published file.

Here: reading the questions from the document, answering them, and writing picture and answers into it.
Not here: drawing the picture (`lake.model_picture`), and the notebook that asks the same questions (`notebooks/`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.marts import Mart
from flywheel_pipelines.lake.model_picture import model_picture
from flywheel_pipelines.paths import PROJECT_ROOT, DataPaths
from flywheel_pipelines.published import query

GUIDE = PROJECT_ROOT / "docs" / "analysts-guide.md"
SHOWN_ROWS = 8
_QUESTION = re.compile(
    r"^### (?P<number>\d+)\. (?P<title>[^\n]+)\n(?P<words>.*?)```sql\n(?P<sql>.*?)```\n(?:\n<!-- answer -->\n"
    r"(?P<answer>.*?)<!-- /answer -->\n)?",
    re.MULTILINE | re.DOTALL,
)
_PICTURE = re.compile(r"<!-- model -->\n.*?<!-- /model -->\n", re.DOTALL)


@dataclass(frozen=True)
class Question:
    """One question of the guide, with the SQL that answers it, and the answer as the document has it."""

    number: int
    title: str
    words: str
    sql: str
    answer: str


def questions(text: str) -> list[Question]:
    """The questions of the guide, in order."""
    return [
        Question(
            int(found["number"]), found["title"], found["words"].strip(), found["sql"].strip(), found["answer"] or ""
        )
        for found in _QUESTION.finditer(text)
    ]


def answer(paths: DataPaths, question: Question) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows. Raises FlywheelError, with the question, when DuckDB refuses the query."""
    try:
        return query(paths, question.sql)
    except FlywheelError as error:
        raise FlywheelError(f"Question {question.number}, {question.title} {error}") from error


def answered(text: str, paths: DataPaths) -> str:
    """The document with every answer as the published file gives it now."""
    by_number = {question.number: question for question in questions(text)}

    def with_answer(found: re.Match[str]) -> str:
        question = by_number[int(found["number"])]
        before = f"### {question.number}. {found['title']}\n{found['words']}```sql\n{found['sql']}```\n"
        table = as_markdown(*answer(paths, question))
        return f"{before}\n<!-- answer -->\n{table}<!-- /answer -->\n"

    return _QUESTION.sub(with_answer, text)


def pictured(text: str, marts: Sequence[Mart], keys: Mapping[str, Sequence[str]]) -> str:
    """The document with the picture of the data model as the dbt project declares it."""
    picture = f"<!-- model -->\n```mermaid\n{model_picture(marts, keys)}```\n<!-- /model -->\n"
    return _PICTURE.sub(lambda _: picture, text)


def as_markdown(names: Sequence[str], rows: Sequence[Sequence[Any]], shown: int = SHOWN_ROWS) -> str:
    """The first rows as a Markdown table; what is left out is counted below it."""
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows[:shown]]
    if len(rows) > shown:
        lines += ["", f"*and {len(rows) - shown} more rows*"]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).split()).replace("|", "\\|")


def read_guide(path: Path = GUIDE) -> str:
    """The document."""
    return path.read_text(encoding="utf-8")
