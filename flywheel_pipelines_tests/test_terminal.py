"""What people see fits the terminal they have."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from flywheel_pipelines.published import Trace
from flywheel_pipelines.terminal import MAX_ROWS, MAX_UPRIGHT_ROWS, next_steps, rows_table, status_table, trace_tree

STATUS = {
    "flywheel": "archive_headlines", "data": "synthetic", "n_closed": 40, "open_cycle": None, "lift": 0.117,
    "lower": 0.089, "upper": 0.145, "n_audit_passed": 7, "n_quarantined": 0, "n_stale": 0,
    "briefs_changed": {"published_by": None, "cycles": []},
}  # fmt: skip


def printed(what: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120])
def test_a_flywheel_has_one_line_of_status(width: int) -> None:
    [line] = [line for line in printed(status_table([STATUS]), width).splitlines() if "archive_headlines" in line]
    assert all(cell in line for cell in ("synthetic", "40", "+11.7%", "[+8.9%, +14.5%]", "7 of 7"))


def test_what_needs_attention_stands_below() -> None:
    replaced = {"published_by": "content", "cycles": ["2024-09-30"]}
    waiting = {"n_quarantined": 6, "n_stale": 2, "open_cycle": "2024-10-07", "briefs_changed": replaced}
    text = " ".join(printed(status_table([STATUS | waiting]), 80).split())
    assert "6 row(s) in quarantine" in text
    assert "2 cycle(s) are stale" in text
    assert "cycle 2024-10-07 is open" in text
    assert "content has published anew since 2024-09-30 was opened: open it again" in text


def test_rows_that_fit_stand_side_by_side() -> None:
    assert any({"1", "2"} <= set(line.split()) for line in printed(rows_table(["a", "b"], [(1, 2)]), 80).splitlines())


def test_rows_too_wide_for_the_terminal_stand_upright_and_no_number_breaks() -> None:
    names = [f"column_{number}" for number in range(20)]
    lines = printed(rows_table(names, [[0.123456] * 20] * 2), 80).splitlines()
    assert [line.split() for line in lines[1:21]] == [[name, "0.123456"] for name in names]
    assert "row 2" in lines[21]


@pytest.mark.parametrize(("columns", "shown"), [(1, MAX_ROWS), (40, MAX_UPRIGHT_ROWS)])
def test_long_results_are_cut_and_say_so(columns: int, shown: int) -> None:
    text = printed(rows_table(["a_column"] * columns, [[1] * columns] * 1000), 80)
    assert f"1,000 row(s), the first {shown} shown" in text


def test_no_rows_are_no_error() -> None:
    assert "0 row(s)" in printed(rows_table(["x"], []), 80)


def test_brackets_in_data_are_brackets() -> None:
    assert "[bold]x[/bold]" in printed(rows_table(["a"], [("[bold]x[/bold]",)]), 80)


def test_a_command_to_try_is_alone_on_its_line() -> None:
    command = '.venv/bin/flywheel sql -c "select cycle, lift, cumulative_lift from momentum"'
    assert command in [line.strip() for line in printed(next_steps([(command, "ask")]), 80).splitlines()]


def test_a_trace_says_who_wrote_it_what_it_was_shown_and_how_it_was_chosen() -> None:
    output = {
        "output_id": "o1", "text": "Hello", "flywheel": "mail", "cycle": "2026-01-12", "producer": "llm",
        "brief_id": "b1", "segment": "hotels", "variant": 1, "prompt_version": "p1", "predicted": 0.1, "rank": 2,
        "model": "offline-writer", "is_synthetic": True, "attempt": 1, "request_tokens": 1_693, "request_cost": None,
        "reference_ids": ["r1", "r2"], "arms": ["flywheel"], "choice": "explored", "probability": 0.05,
        "blocked": None, "decision": None, "reason": None,
    }  # fmt: skip
    cycle = {"corpus_version": "c", "scoring_model_version": "m", "predecessor": None, "threshold_version": "t"}
    said = printed(trace_tree(Trace(output, cycle, None, [])), 120)
    assert "model offline-writer, simulated, attempt 1, 1,693 tokens, cost unknown" in said
    assert "shown reference r2" in said
    assert "explored, which had a probability of 5.0%" in said
