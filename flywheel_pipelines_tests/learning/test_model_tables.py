"""The scoring model in the lake: a model read back predicts bit-identically, and one that was altered is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS, SCORED_OUTPUTS, SCORING_MODEL, SCORING_MODEL_TERMS
from flywheel_pipelines.learning.model_tables import fit_scoring_model, model_from_tables, model_to_tables
from flywheel_pipelines.learning.text_model import TextModel
from flywheel_pipelines_tests.lake_samples import rows

AS_OF = date(2026, 6, 1)
KNOWN_AT = datetime(2026, 6, 1, tzinfo=UTC)
WORDS = ["city", "water", "house", "school", "train", "music", "river", "paper", "garden", "market", "café", "東京"]
AT = {"flywheel": "news", "cycle": date(2026, 5, 25)}
TEXTS = ["the surprising water", "a dull house", "", "never seen before", "café 東京 😀"]
SEGMENTS = ["politics", "sport", "sport", "unheard of", "politics"]


def judged(n_briefs: int = 120, *, seed: int = 0, unmeasured: bool = False) -> tuple[pa.Table, pa.Table]:
    """Scored and published outputs with a `cycle`, in a world where `surprising` sells and `dull` does not."""
    rng = np.random.default_rng(seed)
    scored, published, cycles = [], [], []
    for brief in range(n_briefs):
        level = 0.02 * np.exp(rng.normal(0, 0.3))
        for variant in range(3):
            special = str(rng.choice(["surprising", "dull", ""]))
            text = " ".join([*rng.choice(WORDS, 5, replace=False), special]).strip()
            rate = level * np.exp(0.4 * ((special == "surprising") - (special == "dull")))
            clicks = rng.binomial(20_000, rate)
            output = {
                "output_id": f"o{brief}-{variant}",
                "brief_id": f"b{brief}",
                "segment": ["politics", "sport"][brief % 2],
            }
            exposure = 0.0 if unmeasured and variant == 0 else 20_000.0
            observed = clicks / exposure if exposure else None
            scored.append({**output, "metric": "ctr", "exposure": exposure, "observed": observed})
            published.append({**output, "text": text, "arm": "control", "weight": 1 / 3})
            cycles.append(AS_OF - timedelta(weeks=1 + brief // 12))
    cycle = pa.array(cycles, pa.date32())
    return (
        rows(SCORED_OUTPUTS, scored).append_column("cycle", cycle),
        rows(PUBLISHED_OUTPUTS, published).append_column("cycle", cycle),
    )


@pytest.fixture(scope="module")
def model() -> TextModel:
    return fit_scoring_model(*judged(), as_of=AS_OF, window=52)


def through_the_lake(model: TextModel, folder: Path) -> TextModel:
    lake = Lake(folder)
    row, terms = model_to_tables(model, KNOWN_AT)
    lake.write(SCORING_MODEL, row, **AT)
    lake.write(SCORING_MODEL_TERMS, terms, **AT)
    stored = lake.read(SCORING_MODEL, "news", AT["cycle"]).to_pylist()[0]
    return model_from_tables(stored, lake.read(SCORING_MODEL_TERMS, "news", AT["cycle"]))


def test_the_sample_world_is_learned(model: TextModel) -> None:
    good, bad = model.predict(["the surprising water", "the dull water"], ["sport", "sport"])
    assert model.skilled
    assert good - bad > 0.3


def test_a_model_read_back_from_the_lake_predicts_bit_identically(model: TextModel, tmp_path: Path) -> None:
    restored = through_the_lake(model, tmp_path)
    assert restored.predict(TEXTS, SEGMENTS).tobytes() == model.predict(TEXTS, SEGMENTS).tobytes()
    assert restored.version == model.version


def test_what_is_read_back_is_stored_again_byte_for_byte(model: TextModel, tmp_path: Path) -> None:
    first, again = (model_to_tables(one, KNOWN_AT) for one in (model, through_the_lake(model, tmp_path)))
    assert first[0].equals(again[0])
    by_key = [("kind", "ascending"), ("term", "ascending")]
    assert first[1].sort_by(by_key).equals(again[1].sort_by(by_key))


def test_a_model_without_skill_survives_too(tmp_path: Path) -> None:
    empty = fit_scoring_model(*judged(2), as_of=AS_OF, window=52)
    assert not empty.skilled
    assert through_the_lake(empty, tmp_path).predict(TEXTS, SEGMENTS).tolist() == [0.0] * len(TEXTS)


def test_an_altered_coefficient_is_refused(model: TextModel) -> None:
    row, terms = model_to_tables(model, KNOWN_AT)
    frame = terms.to_pandas()
    frame.loc[0, "coefficient"] = np.float32(9.0)
    with pytest.raises(ValueError, match="content hashes to"):
        model_from_tables(row.to_pylist()[0], pa.Table.from_pandas(frame, schema=SCORING_MODEL_TERMS.schema))


def test_a_lost_term_is_refused(model: TextModel) -> None:
    row, terms = model_to_tables(model, KNOWN_AT)
    with pytest.raises(ValueError, match="content hashes to"):
        model_from_tables(row.to_pylist()[0], terms.slice(1))


def test_the_row_tells_what_it_learned_from(model: TextModel) -> None:
    row = model_to_tables(model, KNOWN_AT)[0].to_pylist()[0]
    assert (row["n_outputs"], row["n_briefs"]) == (360, 120)
    assert (row["window_last"], row["as_of"], row["known_at"]) == (date(2026, 5, 25), AS_OF, KNOWN_AT)


def test_outputs_without_exposure_are_not_learned_from() -> None:
    fitted = fit_scoring_model(*judged(unmeasured=True), as_of=AS_OF, window=52)
    assert fitted.n_outputs == 240


def test_the_window_forgets_what_lies_before_it() -> None:
    fitted = fit_scoring_model(*judged(), as_of=AS_OF, window=3)
    assert fitted.window_first == AS_OF - timedelta(weeks=3)


def test_an_output_in_two_arms_is_learned_from_once() -> None:
    scored, published = judged()
    twice = fit_scoring_model(scored, pa.concat_tables([published, published]), as_of=AS_OF, window=52)
    assert twice.version == fit_scoring_model(scored, published, as_of=AS_OF, window=52).version


def test_outcomes_of_the_cycle_itself_change_nothing() -> None:
    """The control for the next test is the one after it: what lies before does change the model."""
    before = fit_scoring_model(*judged(), as_of=AS_OF - timedelta(weeks=2), window=52)
    scored, published = judged()
    frame = scored.to_pandas()
    later = pd.to_datetime(frame["cycle"]) >= pd.Timestamp(AS_OF - timedelta(weeks=2))
    frame.loc[later, "observed"] = frame.loc[later, "observed"].to_numpy()[::-1]
    falsified = pa.Table.from_pandas(frame, schema=scored.schema)
    assert later.any()
    assert (
        fit_scoring_model(falsified, published, as_of=AS_OF - timedelta(weeks=2), window=52).version == before.version
    )
    assert (
        fit_scoring_model(falsified, published, as_of=AS_OF, window=52).version
        != fit_scoring_model(scored, published, as_of=AS_OF, window=52).version
    )
