"""The briefs of a cycle where a model writes or leads are scored: from a feed, or from what another flywheel published.

Here: which of them, and reading them. Not here: keeping those that were answered already (`opening`), or candidates of
an archive.
"""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.versions import Input
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.production.briefs import briefs_from_ledger, briefs_from_outputs, wanted_briefs


def known_briefs(flywheel: Flywheel, store: Lake, cycle: date) -> pa.Table:
    """The briefs of a cycle as they are known now. Raises FlywheelError when who is to publish them has not yet."""
    asked = flywheel.spec.briefs
    if asked.published_by is None:
        return briefs_from_ledger(store.read(tables.BRIEF_LEDGER, flywheel.name, cycle), asked.each)
    if not store.has(tables.PUBLISHED_OUTPUTS, asked.published_by, cycle):
        raise FlywheelError(
            f"{flywheel.name} writes about what {asked.published_by} publishes, and that has published nothing in "
            f"cycle {cycle}. Open the cycle of {asked.published_by} first (job {asked.published_by}__open); both need "
            "the same cadence."
        )
    published = store.read(tables.PUBLISHED_OUTPUTS, asked.published_by, cycle)
    theirs = store.read(tables.BRIEFS, asked.published_by, cycle)
    return wanted_briefs(briefs_from_outputs(published, theirs), asked.each)


def inputs_of_briefs(flywheel: Flywheel, cycle: date) -> list[Input]:
    """What `known_briefs` reads: by it `input_versions` tells when another flywheel has published anew."""
    source = flywheel.spec.briefs.published_by
    if source is None:
        return [Input(tables.BRIEF_LEDGER, cycle)]
    return [Input(tables.PUBLISHED_OUTPUTS, cycle, source), Input(tables.BRIEFS, cycle, source)]
