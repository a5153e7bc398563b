"""The step that fits the scoring model, as the next cycle will use it.

Not here: the model (`learning.text_model`), the other steps of closing (`closing`), computing vectors (`embedding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.learning.model_tables import fit_scoring_model, model_to_tables, skill_rows
from flywheel_pipelines.learning.text_model import TextModel
from flywheel_pipelines.loop.embedding import vectors_for
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Markdown, Recorder, Shown


def fit_model(flywheel: Flywheel, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`scoring_model`, its terms and its skill by family of features.

    Embeddings are read, never computed: those of the model that the cycle was opened with.
    """
    spec, store = flywheel.spec, recorder.store
    window = spec.scoring_model.window
    shown: Shown = {}
    for cycle in cycles:
        seen = flywheel.window(cycle, window)
        vectors, vectors_read = vectors_for(store, spec.name, cycle, seen)
        scored = flywheel.partitions(store, tables.SCORED_OUTPUTS, seen)
        read = [(tables.CYCLE_MANIFEST, cycle), *scored, *vectors_read]
        model = fit_scoring_model(
            store.read(tables.SCORED_OUTPUTS, spec.name, seen),
            store.read(tables.PUBLISHED_OUTPUTS, spec.name, seen, columns=["output_id", "text"]),
            as_of=shift_cycle(cycle, spec.cadence, 1),
            window=window,
            vectors=vectors,
        )
        known = store.read(tables.PERFORMANCE_METRICS, spec.name, seen, columns=["known_at"])
        row, terms = model_to_tables(model, max(known.column("known_at").unique().to_pylist(), default=None))
        recorder.write(tables.SCORING_MODEL_TERMS, terms, cycle, read)
        recorder.write(tables.SCORING_MODEL_SKILL, skill_rows(model), cycle, read)
        recorder.write(tables.SCORING_MODEL, row, cycle, read)
        if cycle == cycles[-1]:
            shown = _about_model(model)
    return shown


def _about_model(model: TextModel) -> Shown:
    strongest = [f"{term.kind} `{term.term}` {term.coefficient:+.3f}" for term in model.top_terms(8).itertuples()]
    shown: Shown = {
        "model": model.reason,
        "holdout_hit_rate": model.holdout_hit_rate,
        "holdout_chance": model.holdout_chance,
        "strongest_terms": Markdown("\n".join(f"- {line}" for line in strongest) or "none"),
    }
    if model.skills:
        lines = ["| predicted by | correlation | in standard errors |", "| --- | --- | --- |"]
        lines += [f"| {skill.block} | {skill.correlation:.3f} | {skill.z:.1f} |" for skill in model.skills]
        shown["out_of_time"] = Markdown("\n".join(lines))
    return shown
