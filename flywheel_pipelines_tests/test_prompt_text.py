"""Slots and fences: what no text from outside can do to a prompt."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from flywheel_pipelines.prompt_text import (
    BRIEF_SLOT,
    REFERENCES_SLOT,
    Reference,
    fenced,
    render_references,
    without_slots,
)

nasty = st.text(alphabet="`~\n {}brief references#", max_size=60)


@given(nasty)
@example("```\n````\n`````")
def test_nothing_inside_a_fence_is_as_long_as_the_fence(text: str) -> None:
    first, *inside, last = fenced(text, "brief").split("\n")
    fence = first.removesuffix("brief")
    assert last == fence
    assert set(fence) == {"`"}
    assert all(len(run) < len(fence) for line in inside for run in re.findall("`+", line))


def test_a_harmless_text_gets_the_usual_fence() -> None:
    assert fenced("text", "reference") == "```reference\ntext\n```"


@given(st.lists(st.sampled_from([BRIEF_SLOT, REFERENCES_SLOT, "{", "{{", "}", " ", "brief", "a"]), max_size=9))
def test_no_slot_survives(parts: list[str]) -> None:
    found = without_slots("".join(parts))
    assert BRIEF_SLOT not in found
    assert REFERENCES_SLOT not in found


def test_references_stand_by_segment_best_first() -> None:
    of = [Reference("c", "s", "third", 3), Reference("a", "s", "first", 1), Reference("b", "t", "second", 2)]
    assert re.findall("first|second|third|Segment: .", render_references(of)) == [
        "Segment: s",
        "first",
        "third",
        "Segment: t",
        "second",
    ]


def test_no_references_render_as_nothing() -> None:
    assert render_references([]) == ""


@given(st.text(alphabet="`\n#{} brief\u2028\r", max_size=120))
def test_a_segment_is_one_short_line(segment: str) -> None:
    lines = render_references([Reference("a", segment, "text", 1)]).split("\n")
    assert lines[1:] == ["", "```reference", "text", "```"]
    assert len(lines[0].splitlines()) == 1
    assert len(lines[0]) <= len("## Segment: ") + 84
    assert BRIEF_SLOT not in lines[0]
