"""A replay from file to report: read, check, run, judge, draw.

Here: the order of these steps and the one object that `flywheel replay --json` prints. Not here: the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from flywheel_pipelines.feedback.archive import ArchiveBatch, find_mapping, load_mapping, read_archive
from flywheel_pipelines.feedback.files import read_header
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.momentum.plot import momentum_plot
from flywheel_pipelines.momentum.summary import Summary, summarise
from flywheel_pipelines.overview import latest_audit
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.simulation.evaluation import archive_outcomes
from flywheel_pipelines.simulation.replay import Feedback, OnCycle, ReplayPlan, counted_by, run_replay
from flywheel_pipelines.spec import Embeddings, FlywheelSpec


@dataclass(frozen=True)
class ReplayReport:
    """What a replay showed."""

    flywheel: str
    feedback: Feedback
    embeddings: str | None
    is_synthetic: bool
    archive: ArchiveBatch
    summary: Summary
    observed: Summary
    n_cycles: int
    audit: list[dict[str, Any]]
    audit_verdict: str
    audit_words: str
    plot: Path
    example_output: str

    @property
    def title(self) -> str:
        """Heading of the momentum table."""
        data = "synthetic data" if self.is_synthetic else self.archive.source
        learned = f", with embeddings by {self.embeddings}" if self.embeddings else ""
        return f"Momentum of {self.flywheel} over the control, {data}, {self.feedback} feedback{learned}"

    @property
    def intake(self) -> str:
        """What became of the archive's rows, in one sentence."""
        archive = self.archive
        parts = [f"{archive.n_used:,} used"]
        parts += [f"{count:,} left out ({reason})" for reason, count in sorted(archive.left_out.items())]
        if archive.n_quarantined:
            parts.append(f"{archive.n_quarantined:,} quarantined (flywheel sql -c 'select * from lake.quarantine')")
        return f"{archive.n_rows:,} rows of {archive.source}: {', '.join(parts)}."

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; lifts are fractions.

        `lift` and its parts are judged on all candidates of the archive, `observed` on what the flywheel could see.
        `cycles` counts those with briefs that offer a choice, `cycles_run` all that were opened and closed.
        """
        return {
            "flywheel": self.flywheel,
            "feedback": self.feedback,
            "embeddings": self.embeddings,
            "is_synthetic": self.is_synthetic,
            **self.summary.as_dict(),
            "cycles_run": self.n_cycles,
            "observed": self.observed.as_dict(),
            "audit": {"verdict": self.audit_verdict, "items": self.audit},
            "rows": {
                "read": self.archive.n_rows,
                "used": self.archive.n_used,
                "quarantined": self.archive.n_quarantined,
                "left_out": self.archive.left_out,
            },
        }


def replay_and_report(
    file: Path,
    *,
    mapping_file: Path | None,
    feedback: Feedback,
    spec: FlywheelSpec,
    paths: DataPaths,
    is_synthetic: bool,
    on_cycle: OnCycle,
    embeddings: Embeddings | None = None,
    embedding_model: str | None = None,
) -> ReplayReport:
    """Replay an archive and judge its choices; `embeddings` instead of what the YAML says about them.

    Raises:
        FlywheelError: the file, its mapping or the flywheel cannot be used, or a step failed; nothing is half-written.
    """
    mapping = load_mapping(mapping_file) if mapping_file else find_mapping(read_header(file), str(file))[1]
    if mapping.recorded_as is None:
        # Whatever the file calls its counts, they are the ones that the flywheel's metric is about.
        mapping = mapping.model_copy(update={"recorded_as": counted_by(spec)})
    archive = read_archive(file, mapping, cadence=spec.cadence)
    plan = ReplayPlan(spec, archive, feedback, is_synthetic, embeddings, embedding_model)
    plan.check(file)
    run_replay(plan, paths, on_cycle=on_cycle)
    lake = Lake(paths.lake)
    better = spec.metric.better
    _, audited, audit_verdict, audit_words = latest_audit(paths, spec)
    corpus = lake.read(tables.REFERENCE_CORPUS, spec.name, plan.cycles[-1]).sort_by("rank")["reference_id"].to_pylist()
    return ReplayReport(
        flywheel=spec.name,
        feedback=feedback,
        embeddings=_embedder_of(lake, spec.name, plan.cycles[-1]),
        is_synthetic=is_synthetic,
        archive=archive,
        summary=summarise(archive_outcomes(lake, spec, archive), better=better),
        observed=summarise(lake.read(tables.BRIEF_OUTCOMES, spec.name), better=better),
        n_cycles=len(plan.cycles),
        audit=audited,
        audit_verdict=audit_verdict,
        audit_words=audit_words,
        plot=_draw(lake, spec, paths, is_synthetic=is_synthetic),
        example_output=corpus[0] if corpus else "OUTPUT_ID",
    )


def _embedder_of(lake: Lake, flywheel: str, cycle: date) -> str | None:
    """Whose embeddings the scoring model of a cycle learned from; None from words and style alone."""
    return lake.read(tables.SCORING_MODEL, flywheel, cycle, columns=["embedding_model"])["embedding_model"][0].as_py()


def _draw(lake: Lake, spec: FlywheelSpec, paths: DataPaths, *, is_synthetic: bool) -> Path:
    path = paths.reports / f"{spec.name}_momentum.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    label = "synthetic" if is_synthetic else None
    path.write_bytes(momentum_plot(lake.read(tables.MOMENTUM, spec.name), flywheel=spec.name, label=label))
    return path
