"""`flywheel prompt list|show|diff|edit|propose` on three cycles that the offline writer wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flywheel_pipelines.cli import prompting, shared
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.library import DIVIDER
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

NAMED = ("--flywheel", NAME)


@pytest.fixture
def world(
    played: WrittenWorld, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WrittenWorld]:
    """A copy of the played flywheel in force, with briefs set aside for trials."""
    copied = played.copy_to(tmp_path_factory.mktemp("prompts"))
    copied.configure(arms={"challenger": 0.3}, prompt={"refresh": "reflect", "reflect_support": 1})
    for module in (prompting, shared):
        monkeypatch.setattr(module, "DEFS_DIR", copied.folder.parent)
    with copied.in_force():
        yield copied


def frames(world: WrittenWorld, author: str) -> list[dict]:
    return [row for row in world.rows(tables.PROMPT_FRAMES) if row["author"] == author]


def edit(run: Run, tmp_path: Path, lines: str, *options: str):
    path = tmp_path / "guidelines.txt"
    path.write_text(lines, encoding="utf-8")
    return run("prompt", "edit", *NAMED, "--guidelines", path, "--note", "shorter mails", *options)


def test_the_list_shows_the_yaml_with_the_cycles_that_used_it(run: Run, world: WrittenWorld) -> None:
    [entry] = run("prompt", "list", *NAMED, "--json").json
    assert entry["author"] == "template"
    assert len(entry["cycles"]["flywheel"]) == len(entry["cycles"]["control"]) == 3


def test_an_edit_is_a_human_frame_made_from_the_champion(run: Run, world: WrittenWorld, tmp_path: Path) -> None:
    done = edit(run, tmp_path, "- Keep it short.\n\n")
    assert done.code == 0, done.err
    [frame] = frames(world, "human")
    assert frame["parent_version"] == frames(world, "template")[0]["frame_version"]
    assert (frame["note"], frame["author_name"]) == ("shorter mails", None)
    assert frame["proposed_for"] > WEEKS[3]
    assert "+Keep it short." in run("prompt", "diff", *NAMED, frame["frame_version"][:8]).out


def test_a_name_is_replaced_by_a_pseudonym(run: Run, world: WrittenWorld, tmp_path: Path) -> None:
    assert edit(run, tmp_path, "Keep it short.", "--author-name", "Jane Doe").code == 0
    assert frames(world, "human")[0]["author_name"].startswith("reviewer-")


def test_an_edit_that_changes_nothing_is_refused(run: Run, world: WrittenWorld, tmp_path: Path) -> None:
    refused = edit(run, tmp_path, "")
    assert refused.code == 2
    assert "Nothing was changed" in refused.said
    assert frames(world, "human") == []


def test_a_frame_that_is_in_the_library_is_not_registered_again(run: Run, world: WrittenWorld, tmp_path: Path) -> None:
    edit(run, tmp_path, "Keep it short.")
    again = edit(run, tmp_path, "Keep it short.")
    assert again.code == 2
    assert "in the library already" in again.said


@pytest.mark.parametrize("template", ["No slot.", "{{ brief }}", "{{ brief }}{{ references }}{{ secret }}"])
def test_a_template_that_cannot_be_rendered_is_refused(
    run: Run, world: WrittenWorld, tmp_path: Path, template: str
) -> None:
    path = tmp_path / "template.md"
    path.write_text(template, encoding="utf-8")
    refused = run("prompt", "edit", *NAMED, "--template", path, "--note", "try")
    assert refused.code == 2
    assert "template" in refused.said
    assert frames(world, "human") == []


def test_the_editor_gets_guidelines_and_template_and_gives_back_a_frame(
    run: Run, world: WrittenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompting.click, "edit", lambda text, extension: f"- Be kind.\n{text}")
    assert run("prompt", "edit", *NAMED, "--note", "kinder").code == 0
    shown = run("prompt", "show", *NAMED, frames(world, "human")[0]["frame_version"])
    assert "1. Be kind." in shown.out
    assert DIVIDER not in shown.out


def test_an_edited_text_without_its_divider_is_refused(
    run: Run, world: WrittenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompting.click, "edit", lambda text, extension: text.replace(DIVIDER, ""))
    refused = run("prompt", "edit", *NAMED, "--note", "oops")
    assert refused.code == 2
    assert "divider" in refused.said


def test_without_a_share_for_trials_an_edit_says_that_it_waits(run: Run, world: WrittenWorld, tmp_path: Path) -> None:
    world.configure()
    assert "No brief is set aside" in edit(run, tmp_path, "Keep it short.").said


def test_propose_refuses_where_the_yaml_proposes_nothing(run: Run, world: WrittenWorld) -> None:
    world.configure(arms={"challenger": 0.3})
    refused = run("prompt", "propose", *NAMED)
    assert refused.code == 2
    assert "prompt.refresh" in refused.said


def test_propose_says_what_came_of_it(run: Run, world: WrittenWorld) -> None:
    row = run("prompt", "propose", *NAMED, "--json").json
    assert row["outcome"] in ("proposed", "nothing_new", "not_due")
    assert row["reason"]
    assert world.rows(tables.PROPOSED_PROMPT, WEEKS[3])


def test_an_unknown_frame_is_refused_with_those_there_are(run: Run, world: WrittenWorld) -> None:
    refused = run("prompt", "show", *NAMED, "zzzz")
    assert refused.code == 2
    assert frames(world, "template")[0]["frame_version"] in refused.said
