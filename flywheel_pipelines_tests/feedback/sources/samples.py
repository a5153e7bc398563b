"""Feeds, pulls and what a pulled file says, for the tests of this folder."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.sources import TIMEOUT, pull
from flywheel_pipelines.spec import FeedSpec
from flywheel_pipelines_tests.postgres import PASSWORD

VARIABLE = "MAILER_URL"
FIRST, LAST = date(2026, 1, 5), date(2026, 1, 18)
QUERY = "SELECT * FROM mailer WHERE day BETWEEN :first_day AND :last_day"


def feed(query: str = QUERY, **more: Any) -> FeedSpec:
    return FeedSpec.model_validate(
        {"kind": "metrics", "sql": {"url_variable": VARIABLE, "query": query}, "columns": {"date": "day"}, **more}
    )


@dataclass(frozen=True)
class Puller:
    """Pulls from one URL into one folder."""

    url: str
    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.root / "inbox" / "offers" / "mailer"

    def pull(
        self, query: str | FeedSpec = QUERY, first: date = FIRST, last: date = LAST, *, timeout: float = TIMEOUT
    ) -> Path | None:
        return pull(
            query if isinstance(query, FeedSpec) else feed(query),
            first,
            last,
            self.folder,
            name="mailer",
            environment={VARIABLE: self.url, **self.environment},
            data_folder=self.root,
            timeout=timeout,
        )

    def table(self, query: str | FeedSpec = QUERY, **more: Any) -> pa.Table:
        path = self.pull(query, **more)
        assert path is not None
        return pq.read_table(path)

    def left(self) -> list[str]:
        """Names of what lies in the folder, but for the lock."""
        return sorted(path.name for path in self.folder.glob("*") if path.name != ".pull.lock")

    def workplaces(self) -> list[str]:
        """What an unfinished pull has left behind."""
        return sorted(path.name for path in self.folder.glob(".pull-*"))


def refusal(puller: Puller, *arguments: object, **more: object) -> str:
    """What a pull that fails says; nothing is left behind, and no traceback shows a secret."""
    with pytest.raises(FlywheelError) as caught:
        puller.pull(*arguments, **more)  # type: ignore[arg-type]
    assert puller.left() == puller.workplaces() == []
    shown = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in shown
    assert caught.value.__context__ is None
    return str(caught.value)
