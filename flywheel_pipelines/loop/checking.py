"""The step between measuring and scoring: what came in by each feed, held against the feed's contract.

Not here: the contracts (`feedback.contracts`), the pages about them (`report.data_docs`), or what a broken one does to
the run (`components.feed_checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from flywheel_pipelines.feedback.contracts import READ_BY_A_CLOSE, Findings, check_feed, contracts_of
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.flywheel import Flywheel


def check_feeds(
    flywheel: Flywheel, store: Lake, cycles: Sequence[date], knowledge_cutoff: datetime | None = None
) -> list[Findings]:
    """Findings about some cycles for every feed that a close reads, in the order of the YAML."""
    if knowledge_cutoff is not None and knowledge_cutoff.tzinfo is None:
        knowledge_cutoff = knowledge_cutoff.replace(tzinfo=UTC)
    return [
        check_feed(
            store,
            contract,
            cycles,
            mature_after=flywheel.spec.measurement_window,
            knowledge_cutoff=knowledge_cutoff,
        )
        for contract in contracts_of(flywheel.spec, READ_BY_A_CLOSE)
    ]
