"""Frames of prompts: their versions, their facts, and which of them are in play."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.tables import PROMPT_FRAMES
from flywheel_pipelines.learning.frames import (
    Frame,
    Guideline,
    InPlay,
    Proposal,
    champion_frame,
    frame_diff,
    frame_from,
    frame_of,
    frame_row,
    frame_starting_with,
    in_play,
    register_frame,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
FRAME = Frame("Write. {{ guidelines }}", (Guideline("Be kind."), Guideline("Open with a scene.", ("o1", "o2"))))


def proposal(frame: Frame = FRAME, **changes: object) -> Proposal:
    return Proposal(frame, "reflection", date(2026, 1, 12), **changes)  # type: ignore[arg-type]


def ledger(*frames: Frame) -> pa.Table:
    return pa.concat_tables([PROMPT_FRAMES.empty(), *(register_frame(proposal(one), NOW).rows for one in frames)])


def gate(**roles: str) -> pa.Table:
    return pa.table({"frame_version": list(roles.values()), "role": list(roles)})


def test_a_version_depends_on_template_and_texts_and_not_on_their_support() -> None:
    without = Frame(FRAME.template, tuple(Guideline(one.text) for one in FRAME.guidelines))
    assert without.version == FRAME.version


@pytest.mark.parametrize(
    "other",
    [
        Frame(FRAME.template + " ", FRAME.guidelines),
        Frame(FRAME.template, FRAME.guidelines[:1]),
        Frame(FRAME.template, FRAME.guidelines[::-1]),
        Frame(FRAME.template, (Guideline("Be kind.Open with a scene."),)),
    ],
)
def test_another_template_or_other_guidelines_are_another_version(other: Frame) -> None:
    assert other.version != FRAME.version


def test_a_frame_comes_back_from_its_row_as_it_was() -> None:
    row = register_frame(proposal(parent="p", evidence={"pairs": 3}, note="why"), NOW).rows.to_pylist()[0]
    assert frame_from(row) == FRAME
    assert (row["parent_version"], json.loads(row["evidence"]), row["note"]) == ("p", {"pairs": 3}, "why")


def test_the_batch_of_a_frame_is_named_after_its_version_whoever_registers_it() -> None:
    first, second = register_frame(proposal(), NOW), register_frame(Proposal(FRAME, "human", date(2026, 3, 2)), NOW)
    assert first.header["batch_id"] == second.header["batch_id"] == f"frame-{FRAME.version}"


def test_a_frame_is_not_its_own_parent() -> None:
    assert register_frame(proposal(parent=FRAME.version), NOW).rows["parent_version"].to_pylist() == [None]


def test_without_a_gate_no_frame_is_champion() -> None:
    assert champion_frame(None) is None
    assert champion_frame(gate()) is None


def test_the_gate_names_champion_and_challenger_by_their_roles() -> None:
    assert in_play(gate(champion="a", challenger="b", predecessor="c")) == InPlay("a", "b")


def test_a_frame_is_found_by_the_beginning_of_its_version() -> None:
    assert frame_starting_with(ledger(FRAME, Frame("x")), FRAME.version[:6])["frame_version"] == FRAME.version


def test_a_beginning_that_fits_nothing_or_several_is_refused_with_what_there_is() -> None:
    frames = ledger(FRAME, Frame("x"))
    with pytest.raises(FlywheelError, match=FRAME.version):
        frame_starting_with(frames, "zzz")
    with pytest.raises(FlywheelError, match="several"):
        frame_starting_with(frames, "")


def test_a_frame_in_play_that_is_missing_is_an_error_that_names_its_batch() -> None:
    with pytest.raises(FlywheelError, match="frame-gone"):
        frame_row(ledger(FRAME), "gone")


def test_a_diff_shows_the_guideline_that_came_and_leaves_out_the_template_that_stayed() -> None:
    diff = frame_diff(frame_of(FRAME.template, ["Be kind."]), FRAME)
    assert "+Open with a scene." in diff
    assert "template" not in diff


def test_equal_frames_have_no_diff() -> None:
    assert frame_diff(FRAME, FRAME) == ""
