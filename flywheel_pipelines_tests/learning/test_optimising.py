"""The optimiser behind our gate: what it may adopt, on which evidence, within which budget. Scores are simulated."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.learning import optimising
from flywheel_pipelines.learning.optimising import Budget, Items, Lines, Optimised, lines_of, optimise_guidelines
from flywheel_pipelines.learning.paired_test import PairedTest

pytest.importorskip("gepa", reason="the optional package gepa is not installed")

CHAMPION: Lines = ("As it is.",)
ITEMS = Items(
    train=tuple(f"t{number}" for number in range(12)),
    validation=tuple(f"v{number}" for number in range(8)),
    evidence=tuple(f"e{number}" for number in range(30)),
)
BUDGET = Budget(max_texts=400, minibatch=3, evidence=60, error=0.05)


class World:
    """Scores with noise of size 1; every proposal is better by `gain`. It keeps what was asked."""

    def __init__(self, gain: float) -> None:
        self.gain = gain
        self.scored: list[tuple[str, Lines, str]] = []
        self.n_proposals = 0

    def score(self, items: Sequence[str], guidelines: Lines, purpose: str) -> list[tuple[str, float]]:
        self.scored += [(item, guidelines, purpose) for item in items]
        gain = self.gain if guidelines != CHAMPION else 0.0
        return [("text", gain + random.Random(f"{item}{guidelines}{purpose}").gauss(0, 1)) for item in items]

    def propose(self, guidelines: Lines, seen: Sequence[tuple[str, str, float]]) -> Lines:
        self.n_proposals += 1
        return (f"Proposal {self.n_proposals}.",)

    def optimise(self, *, gated: bool = True, budget: Budget = BUDGET, items: Items = ITEMS) -> Optimised:
        return optimise_guidelines(
            CHAMPION,
            items,
            score=self.score,
            propose=self.propose,
            test=PairedTest if gated else None,
            budget=budget,
            seed=3,
        )


def test_a_better_proposal_passes_and_comes_back() -> None:
    done = World(gain=2.0).optimise()
    assert done.best is not None
    assert done.best != CHAMPION
    assert any(one.passed and one.guidelines == done.best for one in done.tested)


def test_an_equal_proposal_does_not_pass() -> None:
    assert World(gain=0.0).optimise().best is None


def test_control_without_the_gate_an_equal_proposal_is_adopted() -> None:
    assert World(gain=0.0).optimise(gated=False).best is not None


@pytest.mark.parametrize("gain", [0.0, 2.0])
def test_the_budget_is_kept(gain: float) -> None:
    world = World(gain)
    done = world.optimise()
    assert done.n_texts == len(world.scored) <= BUDGET.max_texts


def test_each_use_has_briefs_of_its_own() -> None:
    world = World(gain=0.5)
    world.optimise()
    tested = {item for item, _, purpose in world.scored if purpose.startswith("evidence")}
    others = {item for item, _, purpose in world.scored if not purpose.startswith("evidence")}
    assert tested <= set(ITEMS.evidence)
    assert others == set(ITEMS.train) & others | set(ITEMS.validation)


def test_every_proposal_is_tested_on_texts_of_its_own() -> None:
    world = World(gain=0.1)
    done = world.optimise()
    assert len(done.tested) > 1
    champions = [purpose for _, lines, purpose in world.scored if purpose.startswith("evidence") and lines == CHAMPION]
    assert len(champions) == len(set(champions)) == sum(one.n_pairs for one in done.tested)


def test_the_same_search_comes_to_the_same_in_another_process_with_another_hash_seed() -> None:
    script = (
        "from flywheel_pipelines_tests.learning.test_optimising import World\n"
        "done = World(gain=0.6).optimise()\n"
        "print(done.best, done.n_texts, done.tested)\n"
    )
    root = Path(__file__).resolve().parents[2]
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_too_small_a_budget_is_refused_before_anything_is_written() -> None:
    world = World(gain=1.0)
    with pytest.raises(FlywheelError, match=r"optimiser\.max_texts"):
        world.optimise(budget=Budget(max_texts=10, minibatch=3, evidence=60, error=0.05))
    assert world.scored == []


def test_too_few_briefs_are_refused_in_words() -> None:
    with pytest.raises(FlywheelError, match="Let more cycles pass"):
        World(gain=1.0).optimise(items=Items((), ("v",), ("e",)))


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gepa", None)
    with pytest.raises(FlywheelError, match=r"flywheel-pipelines\[gepa\]"):
        World(gain=1.0).optimise()


def test_nothing_is_pickled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pickle

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pickled")

    monkeypatch.chdir(tmp_path)
    for name in ("dump", "dumps", "load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
    World(gain=1.0).optimise()
    assert list(tmp_path.iterdir()) == []


def test_lines_are_read_without_bullets_and_blanks() -> None:
    assert lines_of("- Be kind.\n\n* Keep it short.\n  Ask.  ") == ("Be kind.", "Keep it short.", "Ask.")


def test_the_test_decides_nothing_from_a_handful_of_pairs() -> None:
    test = PairedTest(0.05)
    assert [test.add(1.0 + number / 100) for number in range(7)] == [False] * 7


def test_the_test_is_wrong_about_equal_prompts_no_more_often_than_it_says() -> None:
    draws = random.Random(11)
    wrong = sum(any(test.add(draws.gauss(0, 1)) for _ in range(200)) for test in (PairedTest(0.05) for _ in range(400)))
    assert wrong <= 0.05 * 400


def test_control_looking_again_and_again_at_a_plain_z_is_wrong_far_more_often() -> None:
    draws = random.Random(11)

    def ever(n: int) -> bool:
        total = 0.0
        for count in range(1, n + 1):
            total += draws.gauss(0, 1)
            if count >= 8 and total / count**0.5 > 1.645:
                return True
        return False

    assert sum(ever(200) for _ in range(400)) > 0.15 * 400


def test_only_the_search_imports_the_optional_package() -> None:
    assert "gepa" not in vars(optimising)
