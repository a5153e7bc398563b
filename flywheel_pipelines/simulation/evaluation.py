"""How good the choices of a replay were, judged on every candidate of the archive.

The archive knows what each candidate achieved, also those that a flywheel with partial feedback never saw. Here: that
judgement, per cycle. Not here: what the flywheel itself could see, which is its `momentum` table.
"""

from __future__ import annotations

import pyarrow as pa

from flywheel_pipelines.feedback.archive import ArchiveBatch
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.momentum.lift import brief_outcomes
from flywheel_pipelines.production.arms import publish
from flywheel_pipelines.simulation.replay import measurements_of
from flywheel_pipelines.spec import ArmsSpec, FlywheelSpec

_BOTH_ARMS = ArmsSpec(control=1.0, comparison="within_brief")


def archive_outcomes(lake: Lake, spec: FlywheelSpec, archive: ArchiveBatch) -> pa.Table:
    """Rows of `brief_outcomes`, with `cycle`: the chosen candidate against the expected value of a random choice."""
    parts = []
    for cycle in lake.cycles(tables.GENERATED_OUTPUTS, spec.name):
        generated = lake.read(tables.GENERATED_OUTPUTS, spec.name, cycle)
        published = publish(generated, _BOTH_ARMS, publish_all=True, flywheel=spec.name, cycle=cycle)
        ids = dict(zip(generated["candidate_id"].to_pylist(), generated["output_id"].to_pylist(), strict=True))
        performance = pa.Table.from_pylist(
            [
                {
                    "output_id": ids[row["candidate_id"]],
                    "metric": spec.floor.metric,
                    "numerator": float(row["successes"]),
                    "exposure": float(row["exposure"]),
                    "value": row["successes"] / row["exposure"] if row["exposure"] else None,
                    "n_reports": 1,
                    "squares": row["successes"] ** 2 / row["exposure"] if row["exposure"] else 0.0,
                    "is_mature": True,
                    "known_at": row["recorded_at"],
                }
                for row in measurements_of(archive, cycle)
            ],
            schema=tables.PERFORMANCE_METRICS.schema,
        )
        outcomes = brief_outcomes(published, performance, spec.floor.metric, spec.metric.better)
        cycles = pa.array([cycle] * outcomes.num_rows, pa.date32())
        parts.append(outcomes.append_column("cycle", cycles))
    return pa.concat_tables(parts)
