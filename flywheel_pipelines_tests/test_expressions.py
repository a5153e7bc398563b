"""Expressions of constraints: what they come to, and that nothing of Python is reached from one."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_pipelines.expressions import Expression, ExpressionError

NAMES: dict[str, Any] = {
    "kb": 240,
    "steps": [{"seconds": 3}, {"seconds": 40}],
    "brief": {"max_kb": 180, "all": [1] * 99},
    "tone": "dry",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("kb <= brief.max_kb", False),
        ("kb > brief.max_kb and tone in ['dry', 'calm']", True),
        ("all(step.seconds < 30 for step in steps)", False),
        ("sum([step.seconds for step in steps if step.seconds > 3])", 40),
        ("1 - kb / 480", 0.5),
        ("len(steps) if tone == 'dry' else 0", 2),
        ("100 < kb < 300", True),
        ("'max_kb' in brief", True),
        ("-steps[1].seconds % 7", 2),
    ],
)
def test_an_expression_has_its_value(text: str, value: object) -> None:
    assert Expression(text).value(NAMES) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "open('/etc/passwd')", "kb.__class__", "().__class__.__mro__",
        "tone.upper()", "tone.format(kb)", "brief.keys()", "lambda: 1", "9**9**9", "1 << 99", "(kb := 1)", "f'{kb}'",
        "min(steps, key=len)", "[*steps]", "kb; kb", "import os", "", "kb <=", "1" * 501, "(" * 300, "b'x'", "{1: 2}",
        "len.__self__", "[a for a, b in steps]",
    ],
)  # fmt: skip
def test_what_no_constraint_may_ask_for_is_refused_while_it_is_read(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("width > 3", "width"),
        ("brief.width > 3", "there is no width"),
        ("brief.keys > 3", "there is no keys"),
        ("kb / (kb - 240) > 1", "zero"),
        ("tone < kb", "not supported"),
        ("steps[7].seconds > 1", "out of range"),
        ("tone * 9999999 == tone", "long"),
        (f"sum([1 for a in [{'1, ' * 120}1] for b in brief.all for c in steps]) > 1", "too many"),
    ],
)
def test_what_has_no_value_says_why(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        Expression(text).value(NAMES)


def test_the_values_found_are_those_it_asks_for() -> None:
    asked = Expression("all(step.seconds < brief.most for step in steps) and kb <= brief.max_kb")
    assert sorted(asked.paths) == ["brief.max_kb", "brief.most", "kb", "steps"]
    found = asked.found(NAMES | {"steps": []}).split(", ")
    assert sorted(found) == ["brief.max_kb = 180", "brief.most is not there", "kb = 240", "steps = []"]
