"""The notebook, run headless: every question is answered, every plot shows what the file holds."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.guide import answer, questions, read_guide
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT
from flywheel_pipelines.published import query
from flywheel_pipelines_tests.warehouse_world import WarehouseWorld

pytest.importorskip("marimo", reason="the extra `notebook` is not installed; `make install` installs it")
pytestmark = pytest.mark.slow
NOTEBOOK = PROJECT_ROOT / "notebooks" / "questions.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("questions_notebook", NOTEBOOK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


@pytest.fixture(scope="module")
def ran(warehouse: WarehouseWorld) -> Iterator[Mapping[str, Any]]:
    """What the notebook's cells defined."""
    matplotlib.use("Agg")
    with warehouse.written.in_force():
        _, defined = load().run()
    yield defined


def test_every_question_is_answered_as_the_guide_asks_it(warehouse, ran):
    expected = {}
    for question in questions(read_guide()):
        names, rows = answer(warehouse.paths, question)
        expected[f"{question.number}. {question.title}"] = [dict(zip(names, row, strict=True)) for row in rows]
    # As text: a correlation of what never varies is no number, and that is equal to nothing.
    assert repr({title: rows for title, (_, rows) in ran["answers"].items()}) == repr(expected)


def test_it_says_which_flywheels_are_simulated(ran):
    assert {"mail", "offers"} <= set(ran["simulated"])
    assert "news" not in ran["simulated"]


PLOTTED = {
    "lift_figure": ("offers", "select anytime_lift from momentum where flywheel = 'offers' order by cycle"),
    "segment_figure": (None, "select lift from segments where is_latest and lift is not null limit 1"),
    "cost_figure": (
        "mail",
        "select 100 * sum(cost) / sum(n_promoted) from costs where flywheel = 'mail' and arm = 'all' "
        "group by date_trunc('month', cycle)",
    ),
    "restated_figure": (
        "offers: reply_rate",
        "select value from performance where flywheel = 'offers' and arm = 'all' order by cycle",
    ),
    "ancestor_figure": (
        "offers",
        "select promoted_share from ancestry where flywheel = 'offers' and n_judged > 0 "
        "order by n_judged, promoted_share",
    ),
}


@pytest.mark.parametrize("figure", PLOTTED)
def test_a_plot_shows_the_numbers_of_the_file(warehouse, ran, figure):
    label, sql = PLOTTED[figure]
    _, rows = query(warehouse.paths, sql)
    [axes] = ran[figure].axes
    lines = [line for line in axes.lines if label in (None, line.get_label())]
    expected = [value for (value,) in rows if value is not None]
    shown = [list(line.get_ydata() if label else line.get_xdata()) for line in lines]
    assert expected != []
    assert pytest.approx(expected) in shown


def test_where_nothing_was_published_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(Exception, match="nothing was published yet") as caught:
        load().run()
    assert isinstance(caught.value.__cause__ or caught.value, FlywheelError)
