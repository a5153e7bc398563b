"""The analyst's guide: its picture is that of the contracts, its queries run, and a wrong answer is noticed.

That its answers are those of the demo is checked where the demo runs, in `.ci/run`.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.guide import Question, answer, answered, as_markdown, pictured, questions, read_guide
from flywheel_pipelines.lake.dbt import dbt_manifest
from flywheel_pipelines.lake.marts import Mart, read_keys, read_marts
from flywheel_pipelines.lake.model_picture import model_picture
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines_tests.warehouse_world import WarehouseWorld

GUIDE = questions(read_guide())


def mart(name: str, *columns: str) -> Mart:
    return Mart(name, "", dict.fromkeys(columns, ("varchar", "")), frozenset(), frozenset())


def test_there_are_twenty_questions_and_each_has_an_answer():
    assert [question.number for question in GUIDE] == list(range(1, 21))
    assert [question.title for question in GUIDE if question.answer.count("\n| ") < 1] == []


def test_no_other_query_stands_in_the_guide_without_an_answer():
    assert read_guide().count("```sql") == len(GUIDE)


def test_the_picture_is_that_of_the_contracts():
    manifest = dbt_manifest()
    text = read_guide()
    assert pictured(text, read_marts(manifest), read_keys(manifest)) == text, "run `make analysts-guide`"


def test_another_key_gives_another_picture():
    manifest = dbt_manifest()
    keys = {**read_keys(manifest), "outputs": ["flywheel", "brief_id"]}
    assert pictured(read_guide(), read_marts(manifest), keys) != read_guide()


def test_the_picture_leads_from_ids_to_what_they_name():
    marts = [mart("outputs", "flywheel", "output_id"), mart("uses", "flywheel", "reference_id", "n")]
    assert model_picture(marts, {"outputs": ["flywheel", "output_id"], "uses": ["n"]}).splitlines() == [
        "erDiagram",
        "    outputs {",
        "        varchar flywheel PK",
        "        varchar output_id PK",
        "    }",
        "    uses {",
        "        varchar n PK",
        "    }",
        "    uses }o--|| outputs : reference_id",
    ]


def test_the_picture_does_not_depend_on_the_order_of_the_tests_in_the_manifest():
    manifest = dbt_manifest()
    backwards = dict(reversed(read_keys(manifest).items()))
    assert pictured(read_guide(), read_marts(manifest), backwards) == read_guide()


def test_every_mart_has_a_key():
    manifest = dbt_manifest()
    assert {mart.name for mart in read_marts(manifest)} == set(read_keys(manifest))


def test_long_answers_are_cut_and_say_so():
    text = as_markdown(["a", "b"], [(number, None) for number in range(5)], shown=2)
    assert text == "| a | b |\n|---|---|\n| 0 |  |\n| 1 |  |\n\n*and 3 more rows*\n"


def test_cells_break_no_table():
    assert as_markdown(["a"], [("x|y\nz",)]) == "| a |\n|---|\n| x\\|y z |\n"


@pytest.mark.slow
@pytest.mark.parametrize("question", GUIDE, ids=lambda question: str(question.number))
def test_every_query_runs_on_any_published_file(warehouse: WarehouseWorld, question: Question):
    names, _ = answer(warehouse.paths, question)
    header = next(line for line in question.answer.splitlines() if line.startswith("|"))
    assert header == f"| {' | '.join(names)} |"


@pytest.mark.slow
def test_a_query_that_is_refused_names_its_question(warehouse: WarehouseWorld):
    question = Question(7, "What does it cost?", "", "select nothing from costs", "")
    with pytest.raises(FlywheelError, match=r"Question 7, What does it cost\? .*nothing"):
        answer(warehouse.paths, question)


@pytest.mark.slow
def test_answers_are_written_over_and_a_second_time_changes_nothing(warehouse: WarehouseWorld):
    once = answered(read_guide(), warehouse.paths)
    assert once != read_guide()
    assert answered(once, warehouse.paths) == once
    without = re.sub(r"\n<!-- answer -->.*?<!-- /answer -->\n", "", once, flags=re.DOTALL)
    assert answered(without, warehouse.paths) == once


@pytest.mark.slow
def test_the_check_fails_on_another_file_and_shows_what_differs(warehouse: WarehouseWorld):
    with warehouse.written.in_force():
        ran = subprocess.run(
            [sys.executable, "scripts/analysts_guide.py", "--check"],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 1, ran.stderr
    assert "-| content | 2026-06-29 |" in ran.stdout


@pytest.mark.parametrize(
    ("exposure", "path"),
    [("analysts_guide", "docs/analysts-guide.md"), ("trace", "flywheel_pipelines/published.py")],
)
def test_exposures_name_the_marts_that_are_read(exposure: str, path: str):
    text = (PROJECT_ROOT / path).read_text(encoding="utf-8")
    queries = "\n".join(re.findall(r"```sql\n(.*?)```", text, re.DOTALL)) if path.endswith(".md") else text
    manifest = dbt_manifest()
    read = {mart.name for mart in read_marts(manifest) if re.search(rf"\b(from|join) {mart.name}\b", queries)}
    [node] = [node for node in manifest["exposures"].values() if node["name"] == exposure]
    assert {name.split(".")[-1] for name in node["depends_on"]["nodes"]} == read
