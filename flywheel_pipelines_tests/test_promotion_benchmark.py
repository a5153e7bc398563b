"""The promotion benchmark runs on an archive and says what it found."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from benchmarks.promotion import CONFIDENCES, at_equal_precision, requirements, run, tables


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive of tests in which outputs truly differ; the first two packages of each are the same."""
    rng = np.random.default_rng(0)
    rows = []
    for test in range(80):
        level = np.exp(rng.normal(-4, 0.5) + rng.normal(0, 0.5, 3))
        for package, rate in enumerate([level[0], *level]):
            text = f"Headline number {test} in the style of {'ABC'[max(package - 1, 0)] * 9}"
            week = f"2014{1 + test // 4:02d}"
            rows.append([f"t{test}", week, text, "image", 900, rng.binomial(900, rate), False])
    names = ["clickability_test_id", "test_week", "headline", "eyecatcher_id", "impressions", "clicks"]
    path = tmp_path_factory.mktemp("archive") / "packages.csv"
    pd.DataFrame(rows, columns=[*names, "randomization_risk_week"]).to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_rows_say_what_was_found_and_whether_it_is_enough(archive: Path) -> None:
    told: list[float] = []
    rows = run(archive, seeds=1, progress=lambda share, doing: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert {row["what"] for row in rows} == {"promotion", "equal precision", "false promotion", "requirement"}
    # 1.5 * 1000 exposures are more than any candidate has.
    assert {row["k"] for row in rows if row["what"] == "promotion"} == {100, 300}
    naive = next(row for row in rows if row.get("rule") == "observed" and row["k"] == 300 and row["part"] == "all")
    assert 0.6 < naive["right"] < 0.95
    assert all(row["pairs"] > 30 for row in rows if row["what"] == "false promotion")
    console = Console(record=True, width=160)
    for table in tables(rows):
        console.print(table)
    assert "Requirements" in console.export_text()


@pytest.mark.slow
def test_the_same_archive_gives_the_same_rows(archive: Path) -> None:
    assert run(archive, seeds=1) == run(archive, seeds=1)


def promotions(right: float) -> list[dict[str, object]]:
    """Rows of one sample size in which both rules are right that often, and one on equal texts."""
    found = {"right": right, "right_se": 0.01, "promotions": 10.0}
    rows: list[dict[str, object]] = [
        {"what": "promotion", "part": "all", "k": 300, "rule": rule, "confidence": confidence, **found}
        for rule in ("content", "plain")
        for confidence in CONFIDENCES
    ]
    return [*rows, {"what": "false promotion", "rule": "hidden", "confidence": 0.9, "share": 0.0, "share_se": 0.0}]


@pytest.mark.parametrize(("right", "met"), [(0.9, True), (0.87, False)])
def test_requirements_are_judged_on_promotions_alone(right: float, met: bool) -> None:
    """The comparison at equal precision has a row for the same k, rule and confidence, and says something else."""
    other = {"what": "equal precision", "part": "all", "k": 300, "rule": "content", "confidence": 0.9, "right": 0.1}
    found = {row["name"]: row["met"] for row in requirements([*promotions(right), other])}
    assert found["k=300: right at 0.9"] is met


def probabilities(n: int = 4_000) -> pd.DataFrame:
    """Briefs of four outputs; `content` says how probable it is that each is right."""
    rng = np.random.default_rng(1)
    sure = rng.beta(1, 1, n)
    frame = pd.DataFrame({"brief_id": np.arange(n) // 4, "content": sure, "plain": sure})
    return frame.assign(right=rng.random(n) < sure)


def test_at_equal_precision_equal_rules_promote_equally() -> None:
    found = at_equal_precision(probabilities(), 300, 1, "content")
    assert found["ratio"] == pytest.approx(1.0, abs=0.15)
    # The other is given the largest number that will do, so never more than one.
    assert found["ratio_upper"] <= 1


def test_at_equal_precision_a_rule_that_only_boasts_gains_nothing() -> None:
    """At one confidence it promotes far more, and is right less often."""
    boasting = probabilities().assign(content=lambda frame: frame["content"] ** 0.25)
    found = at_equal_precision(boasting, 300, 1, "content")
    assert found["promotions"] > 2 * (boasting["plain"] >= 0.9).sum()
    assert found["ratio"] == pytest.approx(1.0, abs=0.15)


def test_control_at_equal_precision_a_rule_that_knows_more_promotes_more() -> None:
    frame = probabilities()
    rng = np.random.default_rng(2)
    blurred = frame.assign(plain=np.clip(frame["content"] + rng.normal(0, 0.3, len(frame)), 0, 1))
    assert at_equal_precision(blurred, 300, 1, "content")["ratio"] > 1.5
