"""A written flywheel whose measurements come from a source: a table of a real PostgreSQL, or what dlt has loaded."""

from __future__ import annotations

from typing import Any

import yaml

from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.postgres import Postgres
from flywheel_pipelines_tests.written_world import NAME, SETTINGS, WEEKS, WrittenWorld

FEED = "warehouse"
VARIABLE = "WAREHOUSE_URL"
FEED_YAML = """
warehouse:
  kind: metrics
  sql:
    url_variable: WAREHOUSE_URL
    query: |
      SELECT tracking_tag, sent_on, sends, replies
      FROM mailer
      WHERE sent_on BETWEEN :first_day AND :last_day
  columns: {output_id: tracking_tag, date: sent_on}
"""
TABLE = "CREATE TABLE mailer (tracking_tag text, sent_on date, sends integer, replies integer)"


def with_feeds(world: WrittenWorld, feeds: str = FEED_YAML, **changes: Any) -> WrittenWorld:
    """The same world with further feeds, given as YAML."""
    further = yaml.safe_load(feeds)
    for feed in further.values():
        feed.update(changes)
    world.configure(feeds={**SETTINGS["feeds"], **further})
    return world


def outputs_of(world: WrittenWorld) -> list[str]:
    """Ids of what was published in the first cycle, in alphabetical order."""
    return sorted(row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, WEEKS[0]))


def measured(world: WrittenWorld, postgres: Postgres, database: str) -> str:
    """A table with one row for the first two outputs; returns the id of the first."""
    first, second = outputs_of(world)[:2]
    postgres.execute(
        TABLE,
        f"INSERT INTO mailer VALUES ('{first}', '{WEEKS[0]}', 50, 5), ('{second}', '{WEEKS[0]}', 40, 1)",
        database=database,
    )
    return first


def landed(world: WrittenWorld, output: str) -> dict[str, float]:
    """The latest value of each measure of an output, by the ledger."""
    rows = [row for row in world.rows(tables.METRIC_LEDGER, WEEKS[0]) if row["output_id"] == output]
    return {row["measure"]: row["value"] for row in sorted(rows, key=lambda row: row["recorded_at"])}


def n_batches(world: WrittenWorld) -> int:
    """Batches that landed so far."""
    return world.lake.read(tables.BATCHES, NAME).num_rows
