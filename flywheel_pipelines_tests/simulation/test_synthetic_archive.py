"""The synthetic archive: deterministic, declared, and a world in which text can (or cannot) be learned from."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge

from flywheel_pipelines.cycles import Cadence
from flywheel_pipelines.feedback.archive import find_mapping, read_archive
from flywheel_pipelines.feedback.files import read_header
from flywheel_pipelines.simulation.headlines import FEATURES, Choices, coded, draw_choices, draw_story, headline
from flywheel_pipelines.simulation.synthetic_archive import COLUMNS, SyntheticArchive, make_synthetic_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> SyntheticArchive:
    return make_synthetic_archive(tmp_path_factory.mktemp("synthetic") / "synthetic.csv.gz")


def rows_of(archive: SyntheticArchive) -> list[dict[str, str]]:
    with gzip.open(archive.path, "rt", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (
        make_synthetic_archive(tmp_path / f"{name}.csv.gz", weeks=3, seed=seed).path.read_bytes()
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again
    assert first != other


def test_every_row_says_that_it_is_synthetic(archive: SyntheticArchive) -> None:
    broken = {row.source_row for row in archive.broken if row.field == "(row)"}
    whole = [row for number, row in enumerate(rows_of(archive), start=1) if number not in broken]
    assert {row["source"] for row in whole} == {"synthetic"}
    assert tuple(whole[0]) == COLUMNS


def test_it_has_the_size_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "small.csv.gz"
    made = make_synthetic_archive(path, weeks=3, briefs_per_week=5, candidates_per_brief=2, n_broken=0)
    assert made.n_rows == len(rows_of(made)) == 3 * 5 * 2
    assert made.broken == ()


def test_quarantine_holds_the_rows_broken_on_purpose_and_no_other(archive: SyntheticArchive) -> None:
    name, mapping = find_mapping(read_header(archive.path))
    batch = read_archive(archive.path, mapping, cadence=Cadence.WEEKLY)
    assert name == "synthetic"
    found = list(zip(batch.quarantine["source_row"].to_pylist(), batch.quarantine["field"].to_pylist(), strict=True))
    assert found == [(row.source_row, row.field) for row in archive.broken]
    assert len(batch.cycles) == 40
    assert batch.n_rows == batch.n_used + len(archive.broken)


def test_headlines_of_a_brief_differ_as_much_as_real_ones_do(archive: SyntheticArchive) -> None:
    log_rates = np.log(archive.truth["ctr"].to_numpy()).reshape(-1, 4)
    assert 0.22 < np.sqrt(np.mean(np.var(log_rates, axis=1, ddof=1))) < 0.32


def test_every_choice_shows_in_the_text() -> None:
    rng = np.random.default_rng(0)
    story = draw_story(rng, "health")
    choices_of: dict[str, Choices] = {}
    for _ in range(2_000):
        choices = draw_choices(rng)
        assert choices_of.setdefault(headline(rng, story, choices), choices) == choices
    assert len(choices_of) > 1_000
    assert len(coded(choices)) == len(FEATURES)


def lift_of_a_simple_model(path: Path, *, seed: int, flat: bool = False) -> float:
    """Summed click rate of the choices over the mean headline: learnt on the first half, chosen in the second."""
    made = make_synthetic_archive(path, n_broken=0, seed=seed, flat=flat)
    rows = rows_of(made)
    rate = np.array([(int(row["clicks"]) + 1) / (int(row["impressions"]) + 70) for row in rows])
    counter = CountVectorizer(ngram_range=(1, 2), binary=True, min_df=3)
    words = np.asarray(
        cast(csr_matrix, counter.fit_transform([row["headline"] for row in rows])).todense(), dtype=float
    )
    log_rate = np.log(rate).reshape(-1, 4)
    target = (log_rate - log_rate.mean(axis=1, keepdims=True)).ravel()
    features = words.reshape(len(rows) // 4, 4, -1)
    features = (features - features.mean(axis=1, keepdims=True)).reshape(len(rows), -1)
    half = len(rows) // 2
    predicted = Ridge(alpha=30).fit(features[:half], target[:half]).predict(features[half:]).reshape(-1, 4)
    later = rate[half:].reshape(-1, 4)
    return float(later[np.arange(len(later)), predicted.argmax(axis=1)].sum() / later.mean(axis=1).sum() - 1)


def test_a_text_model_finds_a_lift(tmp_path: Path) -> None:
    lifts = [lift_of_a_simple_model(tmp_path / "a.csv.gz", seed=seed) for seed in (1, 2, 7)]
    assert 0.08 < np.mean(lifts) < 0.2


def test_control_there_is_no_lift_where_readers_have_no_preference(tmp_path: Path) -> None:
    lifts = [lift_of_a_simple_model(tmp_path / "a.csv.gz", seed=seed, flat=True) for seed in (1, 2, 7)]
    assert abs(np.mean(lifts)) < 0.04
