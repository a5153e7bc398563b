"""`flywheel export`: what is handed on opens where there is no lake, and replaces nothing but an earlier export."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flywheel_pipelines import exporting
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.warehouse_world import WarehouseWorld

pytestmark = pytest.mark.slow


@pytest.fixture
def world(warehouse: WarehouseWorld, tmp_path: Path) -> Iterator[WarehouseWorld]:
    """A copy of the published file, with a lake that every export outlives."""
    copy = WarehouseWorld(tmp_path / "world")
    copy.paths.root.mkdir(parents=True)
    shutil.copy(warehouse.paths.published_file, copy.paths.published_file)
    (copy.paths.lake / "briefs").mkdir(parents=True)
    with copy.written.in_force():
        yield copy


def rows_of(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a client finds that can read nothing but the file."""
    shut: dict[str, Any] = {"enable_external_access": "false"}
    with contextlib.closing(duckdb.connect(str(path), read_only=True, config=shut)) as connection:
        return connection.execute(sql).fetchall()


def counts(path: Path) -> dict[str, int]:
    return dict(rows_of(path, "select table_name, estimated_size from duckdb_tables() where schema_name = 'main'"))


def test_a_duckdb_export_has_marts_functions_and_descriptions_and_outlives_the_data_directory(
    run: Run, world: WarehouseWorld, tmp_path: Path
) -> None:
    before = counts(world.paths.published_file)
    target = tmp_path / "out" / "handed on.duckdb"
    ran = run("export", target, "--json")
    assert (ran.code, ran.json["rows"]) == (0, before)
    shutil.rmtree(world.paths.root)
    assert counts(target) == before
    assert rows_of(target, "select distinct schema_name from duckdb_tables() order by 1") == [
        ("intermediate",),
        ("main",),
    ]
    assert rows_of(target, "select count(*) from duckdb_views() where not internal") == [(0,)]
    assert rows_of(target, "select count(*) > 0 from performance_as_known('2030-01-01')") == [(True,)]
    assert rows_of(target, "select count(*) from duckdb_columns() where comment is null and not internal") == [(0,)]
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_bundle_has_every_row_of_every_mart_and_a_readme_of_its_columns(
    run: Run, world: WarehouseWorld, tmp_path: Path, form: str
) -> None:
    target = tmp_path / "bundle"
    assert run("export", target, "--format", form).code == 0
    marts = counts(world.paths.published_file)
    assert {path.name for path in target.iterdir()} == {"README.md", *(f"{name}.{form}" for name in marts)}
    with contextlib.closing(duckdb.connect()) as connection:
        for name, n_rows in marts.items():
            found = connection.execute(f"select count(*) from '{target}/{name}.{form}'").fetchone()
            assert found == (n_rows,), name
    readme = (target / "README.md").read_text(encoding="utf-8")
    described = rows_of(
        world.paths.published_file,
        "select column_name, data_type from duckdb_columns() where schema_name = 'main' and not internal",
    )
    assert all(f"| `{name}` | {kind} |" in readme for name, kind in described)


def test_lists_and_maps_are_json_in_csv(run: Run, world: WarehouseWorld, tmp_path: Path) -> None:
    run("export", tmp_path / "bundle", "--format", "csv", "--table", "outputs")
    query = "select output_id, {} from {} where metrics is not null and flywheel = 'news' order by 1"
    path = world.paths.published_file
    published = rows_of(path, query.format("arms, metrics['ctr']", "outputs"))
    source = f"read_csv('{tmp_path}/bundle/outputs.csv', all_varchar = true)"
    with contextlib.closing(duckdb.connect()) as connection:
        found = connection.execute(query.format("arms, metrics", source)).fetchall()
    assert [(name, json.loads(arms), json.loads(metrics)["ctr"]) for name, arms, metrics in found] == published
    assert published != []


def test_chosen_tables_alone(run: Run, world: WarehouseWorld, tmp_path: Path) -> None:
    ran = run("export", tmp_path / "some", "--format", "parquet", "--table", "momentum", "--table", "costs", "--json")
    assert list(ran.json["rows"]) == ["costs", "momentum"]
    assert {path.stem for path in (tmp_path / "some").iterdir()} == {"README", "costs", "momentum"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["out", "--format", "xlsx"], "--format: found 'xlsx'; allowed are duckdb, parquet, csv."),
        (["out", "--format", "csv", "--table", "moment"], "--table: found moment; there are ancestry, audit,"),
        (["out", "--table", "costs"], "Add --format parquet or csv."),
        (["world/data/flywheel.duckdb", "--force"], "belongs to the data directory itself"),
        (["world/data/lake/briefs", "--format", "csv", "--force"], "belongs to the data directory itself"),
        (["notes.txt"], "exists. Name another one, or add --force"),
        (["notes.txt", "--force"], "exists and is no earlier export in duckdb, so it stays"),
        (["folder", "--format", "csv", "--force"], "exists and is no earlier export in csv, so it stays"),
    ],
)
def test_what_cannot_be_exported_says_why_and_changes_nothing(
    run: Run, world: WarehouseWorld, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ran = run("export", tmp_path / arguments[0], *arguments[1:])
    assert ran.code == 2
    assert words in ran.said
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(("name", "form"), [("out.duckdb", "duckdb"), ("out", "csv")])
def test_force_replaces_an_earlier_export(
    run: Run, world: WarehouseWorld, tmp_path: Path, name: str, form: str
) -> None:
    target = tmp_path / name
    assert run("export", target, "--format", form).code == 0
    assert run("export", target, "--format", form).code == 2
    if form == "csv":
        (target / "costs.csv").write_text("of yesterday", encoding="utf-8")
    assert run("export", target, "--format", form, "--force").code == 0
    assert form != "csv" or "of yesterday" not in (target / "costs.csv").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"world", name}


def test_an_export_that_breaks_off_leaves_nothing_and_keeps_the_earlier_one(
    run: Run, world: WarehouseWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    run("export", target, "--format", "csv")
    before = {path: path.read_bytes() for path in target.iterdir()}

    def full_disk(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "readme", full_disk)
    ran = run("export", target, "--format", "csv", "--force")
    assert (ran.code, "No space left" in ran.said) == (2, True)
    assert {path: path.read_bytes() for path in target.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"world", "out"}


def test_before_anything_was_published_it_says_what_to_do(run: Run, empty: Path, tmp_path: Path) -> None:
    ran = run("export", tmp_path / "out.duckdb")
    assert ran.code == 2
    assert "nothing was published yet" in ran.said
