"""One contract per feed; the suite of Great Expectations, dbt's source tests and the docs come from it.

Here: the rules, the rows that they are held against, and what was found. Not here: the check in Dagster
(`components/feed_checks.py`), the pages (`report`), or refusing single rows when a file lands (`feedback.feeds`).
"""

from flywheel_pipelines.feedback.contracts.feed_contract import (
    READ_BY_A_CLOSE,
    FeedContract,
    contracts_of,
    feed_contract,
)
from flywheel_pipelines.feedback.contracts.findings import Findings, check_feed

__all__ = ["READ_BY_A_CLOSE", "FeedContract", "Findings", "check_feed", "contracts_of", "feed_contract"]
