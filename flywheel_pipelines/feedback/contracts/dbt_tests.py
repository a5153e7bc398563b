"""Contracts as source tests of dbt: the text of `dbt_project/models/staging/_feeds.yml`.

Here: a source `feeds` with one table per feed, which is the view of its ledger under a name of its own, so that every
feed has its tests and its page in dbt's docs. Not here: the generic tests (`dbt_project/macros/feed_tests.sql`), or
writing the file (`cli.contracts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from flywheel_pipelines.feedback.contracts.feed_contract import FeedContract
from flywheel_pipelines.feedback.contracts.rules import Rule

HEAD = """\
# Made by `flywheel contracts --write` from the feeds of the flywheels below defs/; `make check` holds it to them.
# The rules are in flywheel_pipelines/feedback/contracts/, their tests in macros/feed_tests.sql.
"""
SOURCE = "feeds"
SEVERITIES = {"block": "error", "warn": "warn"}
_NEED_FLYWHEEL = ("reported_within", "volume_as_usual")
_OF_A_COLUMN = ("in_range",)


def dbt_sources(contracts: Sequence[FeedContract]) -> str:
    """The YAML of the source `feeds`, with every feed's tests."""
    source = {
        "name": SOURCE,
        "schema": "lake",
        "description": "The declared feeds: for each, the view of the ledger that its rows land in, and the rules of "
        "its contract about them. docs/feeds.md says the same to people.",
        "tables": [_table(contract) for contract in contracts],
    }
    return HEAD + yaml.safe_dump({"sources": [source]}, sort_keys=False, allow_unicode=True, width=110)


def name_of_test(contract: FeedContract, rule: Rule) -> str:
    """What a rule's test is called in dbt's output."""
    return f"{table_name(contract)}__{rule.name}"


def table_name(contract: FeedContract) -> str:
    """The name of a feed among dbt's sources."""
    return f"{contract.flywheel}__{contract.feed}"


def rows_of(contract: FeedContract) -> str:
    """SQL condition that selects a feed's rows in the view of its ledger."""
    flywheel, feed = contract.flywheel, contract.feed
    if "feed" in contract.ledger.columns:
        return f"flywheel = '{flywheel}' and feed = '{feed}'"
    batches = f"select batch_id from lake.batches where flywheel = '{flywheel}' and feed = '{feed}'"
    return f"flywheel = '{flywheel}' and batch_id in ({batches})"


def _table(contract: FeedContract) -> dict[str, Any]:
    return {
        "name": table_name(contract),
        "identifier": contract.ledger.name,
        "description": f"Feed {contract.feed} of {contract.flywheel}, kind {contract.spec.kind}.",
        "data_tests": [_test(contract, rule) for rule in contract.rules],
    }


def _test(contract: FeedContract, rule: Rule) -> dict[str, Any]:
    arguments = dict(rule.dbt_test.arguments)
    if rule.dbt_test.macro in _NEED_FLYWHEEL:
        arguments = {"flywheel": contract.flywheel, **arguments}
    test = {
        "name": name_of_test(contract, rule),
        "description": f"Expected: {rule.expected}.",
        "arguments": arguments,
        "config": {"severity": SEVERITIES[rule.severity], "where": rows_of(contract)},
    }
    return {rule.dbt_test.macro: test}
