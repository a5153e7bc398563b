"""`flywheel replay`: a clear error and nothing half-written, or a document and exit code 0."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT
from flywheel_pipelines_tests.cli.runner import Ran, Run
from flywheel_pipelines_tests.small_world import FLYWHEEL, SmallWorld, fingerprint

HEADER = "test,day,headline,impressions,clicks"
GOOD = ["t1,2024-01-02,A good one,1000,20", "t1,2024-01-02,A better one,1000,30"]
MAPPING = "columns: {brief: test, text: headline, cycle: day, exposure: impressions, successes: clicks}\n"


def archive(folder: Path, *rows: str | bytes, header: str = HEADER, name: str = "mine.csv") -> Path:
    content = b"\n".join(row if isinstance(row, bytes) else row.encode() for row in (header, *rows)) + b"\n"
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def mapping(folder: Path) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(MAPPING)
    return path


# -- bad input to replay ---------------------------------------------------------------------------------------------
def broken_gzip(folder: Path) -> Path:
    path = archive(folder, *GOOD * 2_000, name="mine.csv.gz")
    path.write_bytes(path.read_bytes()[:-20])
    return path


def damaged_gzip(folder: Path) -> Path:
    path = archive(
        folder, *[f"t{n},2024-01-02,Text {n * 7919 % 1000},1000,{n % 50}" for n in range(2_000)], name="a.csv.gz"
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    return path


def empty_file(folder: Path) -> Path:
    path = folder / "mine.csv"
    path.touch()
    return path


def a_folder(folder: Path) -> Path:
    (folder / "mine.csv").mkdir()
    return folder / "mine.csv"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing_column": (lambda f: archive(f, "t1,2024-01-02,x,9", header=HEADER.replace(",clicks", "")), "clicks"),
    "clicks_above_impressions": (lambda f: archive(f, "t1,2024-01-02,x,5,6"), "more clicks than impressions"),
    "negative_numbers": (lambda f: archive(f, "t1,2024-01-02,x,-5,0"), "negative"),
    "broken_gzip": (broken_gzip, "gz"),
    "damaged_gzip": (damaged_gzip, "gz"),
    "not_gzip_at_all": (lambda f: archive(f, b"\x1f\x8b\x08garbage", header=""), "mine.csv"),
    "empty_file": (empty_file, "empty"),
    "header_only": (lambda f: archive(f), "no"),
    "wrong_encoding": (lambda f: archive(f, b"t1,2024-01-02,caf\xe9,10,1"), "UTF-8"),
    "ten_megabytes_in_a_cell": (lambda f: archive(f, f"t1,2024-01-02,{'x' * 10_000_000},10,1"), "characters"),
    "missing_file": (lambda f: f / "nothing.csv", "nothing.csv"),
    "a_folder": (a_folder, "folder"),
    "from_the_future": (lambda f: archive(f, "t1,2090-01-02,x,10,1", "t1,2090-01-02,y,10,1"), "has not begun"),
    "before_the_start": (lambda f: archive(f, "t1,1999-01-05,x,10,1"), "before the flywheel"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_archive_that_cannot_be_used_is_refused_and_changes_nothing(
    case: str, run: Run, there: SmallWorld, tmp_path: Path
) -> None:
    make, reason = REFUSED[case]
    file, meaning = make(tmp_path), mapping(tmp_path)
    before = fingerprint(there.paths.root, "dagster_home")
    ran = run("replay", file, "--mapping", meaning, "--json")
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("error: ") == 1
    assert reason in ran.said
    assert file.name in ran.said
    assert len(ran.err) < 5_000
    assert fingerprint(there.paths.root, "dagster_home") == before


def test_without_a_fitting_mapping_the_error_holds_one_to_paste(run: Run, there: SmallWorld, tmp_path: Path) -> None:
    before = there.fingerprint()
    ran = run("replay", archive(tmp_path, *GOOD))
    assert ran.code == 2
    assert "--mapping mapping.yaml" in ran.said
    assert "\ncolumns:\n" in ran.err
    assert there.fingerprint() == before


def test_an_error_keeps_long_lines_in_one_piece(run: Run, empty: Path, tmp_path: Path) -> None:
    path = tmp_path / ("long name [with brackets] " * 6) / "nothing.csv"
    assert str(path.parent) in run("replay", path).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--feedback", "some"), "--feedback: found 'some'; allowed are full and partial"),
        (("--flywheel", "nobody"), "--flywheel: found 'nobody'; there are archive_headlines, content, outreach, "),
        (("--flywheel", "warehouse"), "--flywheel: found 'warehouse'"),
        (("--mapping", "nothing.yaml"), "nothing.yaml"),
    ],
)
def test_options_that_mean_nothing_are_refused(run: Run, empty: Path, tmp_path: Path, arguments, said: str) -> None:
    ran = run("replay", archive(tmp_path, *GOOD), *arguments)
    assert ran.code == 2
    assert said in ran.said
    assert not empty.exists()


def test_a_data_directory_that_cannot_be_one_is_an_error_in_words(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "file" / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "data" / "dagster_home"))
    ran = run("replay", archive(tmp_path, *GOOD), "--mapping", mapping(tmp_path))
    assert ran.code == 2
    assert str(tmp_path / "file") in ran.err


# -- a replay that goes through --------------------------------------------------------------------------------------
BAD_ROWS = {
    "more clicks than impressions": "t2,2024-01-02,Too many,5,6",
    "negative": "t2,2024-01-02,Below zero,-5,0",
    "not UTF-8": b"t2,2024-01-02,caf\xe9,10,1",
    "characters": f"t2,2024-01-02,{'x' * 10_000_000},10,1",
}


@pytest.fixture(scope="module")
def with_bad_rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Ran]:
    """Folder, data directory and result of one replay of good and bad rows, as a process of its own."""
    folder = tmp_path_factory.mktemp("bad_rows")
    file = archive(folder, *GOOD, *BAD_ROWS.values())
    environment = {
        **os.environ,
        DATA_DIR_VARIABLE: str(folder / "data"),
        "DAGSTER_HOME": str(folder / "data" / "dagster_home"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "flywheel_pipelines.cli", "replay", file, "--json", "--mapping", mapping(folder)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=PROJECT_ROOT,
    )
    return folder, folder / "data", Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_bad_rows_beside_good_ones_are_put_aside_with_their_reasons(with_bad_rows) -> None:
    _, data, ran = with_bad_rows
    assert (ran.code, "Traceback" in ran.said) == (0, False)
    kept = Lake(data / "lake").read(tables.QUARANTINE, FLYWHEEL).to_pylist()
    assert [row["source_row"] for row in kept] == [3, 4, 5, 6]
    for row, reason in zip(kept, BAD_ROWS, strict=True):
        assert reason in row["reason"]
        assert len(row["found"]) <= 200
    assert ran.json["rows"] == {"read": 6, "used": 2, "quarantined": 4, "left_out": {}}


@pytest.mark.slow
def test_json_is_exactly_one_object_with_what_scripts_look_for(with_bad_rows) -> None:
    found = with_bad_rows[2].json
    assert isinstance(found, dict)
    wanted = {"lift", "interval", "last_half_lift", "last_quarter_lift", "hit_rate", "briefs", "cycles"}
    assert wanted <= found.keys()
    assert (found["briefs"], found["cycles"], found["cycles_run"]) == (1, 1, 1)
    assert found["lift"] is None or isinstance(found["lift"], float)


@pytest.mark.slow
def test_progress_goes_to_standard_error(with_bad_rows) -> None:
    assert "publishing (1 of 1)" in with_bad_rows[2].err


@pytest.mark.slow
def test_no_unfinished_file_is_left(with_bad_rows) -> None:
    left = [path for path in with_bad_rows[1].rglob("*") if path.name.startswith((".writing-", ".build"))]
    assert left == []


@pytest.mark.slow
def test_what_the_columns_are_called_does_not_matter_to_learning(run: Run, empty: Path, tmp_path: Path) -> None:
    """The counts of this file are opens of sends; the flywheel's metric is about clicks of impressions."""
    file = archive(tmp_path, *GOOD, header="test,day,headline,sends,opens")
    (tmp_path / "m.yaml").write_text(MAPPING.replace("impressions", "sends").replace("clicks", "opens"))
    ran = run("replay", file, "--mapping", tmp_path / "m.yaml", "--json")
    assert ran.code == 0
    assert ran.json["observed"]["lift"] == ran.json["lift"] is not None
    assert {row["exposure"] for row in Lake(empty / "lake").read(tables.PERFORMANCE_METRICS, FLYWHEEL).to_pylist()} == {
        1000.0
    }
