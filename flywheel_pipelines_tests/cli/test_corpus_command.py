"""`flywheel corpus list|show|pin|ban|lift` on a replayed flywheel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.small_world import CLOSED, FLYWHEEL, SmallWorld

NAMED = ("--flywheel", FLYWHEEL)
WHY = ("--reason", "off our tone", "--by", "editor-1")


@pytest.fixture
def own(replayed: SmallWorld, tmp_path: Path) -> Iterator[SmallWorld]:
    """A copy to write to."""
    world = replayed.copy_to(tmp_path / "own")
    with world.in_force():
        yield world


def first_id(run: Run) -> str:
    return run("corpus", "list", *NAMED, "--json").json["references"][0]["reference_id"]


def test_list_shows_the_references_best_first(run: Run, there: SmallWorld) -> None:
    said = run("corpus", "list", *NAMED, "--json").json
    assert said["cycle"] == str(CLOSED[-1])
    assert [row["rank"] for row in said["references"]] == list(range(1, len(said["references"]) + 1))
    assert all(row["by_people"] == "wrote" and row["depth"] == 0 for row in said["references"])
    assert said["references"][0]["reference_id"] in run("corpus", "list", *NAMED).said


def test_list_as_of_an_earlier_close(run: Run, there: SmallWorld) -> None:
    assert run("corpus", "list", *NAMED, "--cycle", str(CLOSED[2]), "--json").json["cycle"] == str(CLOSED[2])
    failed = run("corpus", "list", *NAMED, "--cycle", "2001-01-01")
    assert (failed.code, "has no corpus" in failed.said) == (2, True)


def test_show_says_since_when_and_why(run: Run, there: SmallWorld) -> None:
    one = first_id(run)
    said = run("corpus", "show", one, *NAMED, "--json").json
    assert said["changes"][-1]["change"] == "entered"
    assert said["reference"]["reference_id"] == one
    assert "reference number 1 now" in run("corpus", "show", one, *NAMED).said


def test_a_ban_counts_once_its_cycle_is_closed_again(run: Run, own: SmallWorld) -> None:
    one = first_id(run)
    ran = run("corpus", "ban", one, *NAMED, *WHY)
    assert ran.code == 0
    command = f"flywheel restate --flywheel {FLYWHEEL} --cycles {CLOSED[-1]}:{CLOSED[-1]}"
    assert command in ran.said
    assert run(*command.split()[1:]).code == 0
    listed = run("corpus", "list", *NAMED, "--json").json
    assert one not in {row["reference_id"] for row in listed["references"]}
    [ruling] = listed["rulings"]
    assert (ruling["output_id"], ruling["ruling"], ruling["person"]) == (one, "ban", "editor-1")
    shown = run("corpus", "show", one, *NAMED).said
    assert "no reference now" in shown
    assert "banned" in shown


def test_a_lift_ends_a_ruling(run: Run, own: SmallWorld) -> None:
    one = first_id(run)
    assert run("corpus", "pin", one, *NAMED, *WHY).code == 0
    assert run("corpus", "lift", one, *NAMED, *WHY).code == 0
    assert run("corpus", "list", *NAMED, "--json").json["rulings"] == []


def test_a_name_is_stored_as_a_pseudonym(run: Run, own: SmallWorld) -> None:
    assert (
        run("corpus", "pin", first_id(run), *NAMED, "--reason", "ask a.b@example.org", "--by", "Ada Example").code == 0
    )
    [ruling] = run("corpus", "list", *NAMED, "--json").json["rulings"]
    assert ruling["person"].startswith("reviewer-")
    assert "@" not in ruling["reason"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ban", "nobody"), "was never published by"),
        (("lift", "{id}"), "has no pin and no ban to lift"),
        (("pin", "{id}", "--from", "2026-01-06"), "does not begin a cycle"),
        (("pin", "{id}", "--from", "soon"), "expected the first day of a cycle"),
    ],
)
def test_errors_say_what_to_do(run: Run, there: SmallWorld, arguments: tuple[str, ...], words: str) -> None:
    one = first_id(run)
    ran = run("corpus", *(part.format(id=one) for part in arguments), *NAMED, *WHY)
    assert (ran.code, words in ran.said) == (2, True)


def test_without_a_closed_cycle_there_is_no_corpus(run: Run, empty: Path) -> None:
    ran = run("corpus", "list", *NAMED)
    assert (ran.code, "no cycle was closed yet" in ran.said) == (2, True)
