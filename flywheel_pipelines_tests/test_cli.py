"""The command as people and scripts use it: a clear error and nothing half-written, or a document and exit code 0."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines import cli
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT
from flywheel_pipelines.simulation.synthetic_archive import make_synthetic_archive
from flywheel_pipelines.spec import load_spec
from flywheel_pipelines_tests.small_world import CLOSED, FLYWHEEL, SmallWorld, fingerprint, quick_replays

HEADER = "test,day,headline,impressions,clicks"
GOOD = ["t1,2024-01-02,A good one,1000,20", "t1,2024-01-02,A better one,1000,30"]
MAPPING = "columns: {brief: test, text: headline, cycle: day, exposure: impressions, successes: clicks}\n"


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Both streams, with the line breaks that a narrow terminal makes taken out."""
        return " ".join((self.out + self.err).split())


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs `flywheel ...` in this process, through its entry point; its replays do not publish."""

    def flywheel(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["flywheel", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Ran(int(caught.value.code or 0), captured.out, captured.err)

    with quick_replays(publish=False, keep_runs=True):
        yield flywheel


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory in force in which nothing ever ran."""
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "data" / "dagster_home"))
    return tmp_path / "data"


@pytest.fixture
def there(replayed: SmallWorld) -> Iterator[SmallWorld]:
    """The replayed flywheel in force; only for commands that read."""
    with replayed.in_force():
        yield replayed


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
        (("--flywheel", "nobody"), "--flywheel: found 'nobody'; there are archive_headlines below"),
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


def test_bad_rows_beside_good_ones_are_put_aside_with_their_reasons(with_bad_rows) -> None:
    _, data, ran = with_bad_rows
    assert (ran.code, "Traceback" in ran.said) == (0, False)
    kept = Lake(data / "lake").read(tables.QUARANTINE, FLYWHEEL).to_pylist()
    assert [row["source_row"] for row in kept] == [3, 4, 5, 6]
    for row, reason in zip(kept, BAD_ROWS, strict=True):
        assert reason in row["reason"]
        assert len(row["found"]) <= 200
    assert ran.json["rows"] == {"read": 6, "used": 2, "quarantined": 4, "left_out": {}}


def test_json_is_exactly_one_object_with_what_scripts_look_for(with_bad_rows) -> None:
    found = with_bad_rows[2].json
    assert isinstance(found, dict)
    wanted = {"lift", "interval", "last_half_lift", "last_quarter_lift", "hit_rate", "briefs", "cycles"}
    assert wanted <= found.keys()
    assert (found["briefs"], found["cycles"], found["cycles_run"]) == (1, 1, 1)
    assert found["lift"] is None or isinstance(found["lift"], float)


def test_progress_goes_to_standard_error(with_bad_rows) -> None:
    assert "publishing (1 of 1)" in with_bad_rows[2].err


def test_no_unfinished_file_is_left(with_bad_rows) -> None:
    left = [path for path in with_bad_rows[1].rglob("*") if path.name.startswith((".writing-", ".build"))]
    assert left == []


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


def test_the_demo_says_that_its_data_are_synthetic(run: Run, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "flywheel_pipelines.simulation.synthetic_archive.make_synthetic_archive",
        lambda path, **_: make_synthetic_archive(path, weeks=1, briefs_per_week=3, n_broken=1),
    )
    ran = run("demo")
    assert ran.code == 0
    assert "Synthetic archive" in ran.out
    assert "synthetic data" in ran.out
    assert "flywheel or treadmill?" in ran.out
    assert "What next" in ran.out
    assert run("status", "--json").json[0]["data"] == "synthetic"


# -- looking at what is there ----------------------------------------------------------------------------------------
def test_status_of_a_replayed_flywheel(run: Run, there: SmallWorld) -> None:
    row = run("status", "--json").json[0]
    assert (row["flywheel"], row["n_closed"], row["last_closed"]) == (FLYWHEEL, len(CLOSED), CLOSED[-1].isoformat())
    assert (row["n_quarantined"], row["n_stale"], row["open_cycle"], row["data"]) == (3, 0, None, "synthetic")
    assert row["lower"] < row["lift"] < row["upper"]


def test_status_where_nothing_ever_ran(run: Run, empty: Path) -> None:
    row = run("status", "--json").json[0]
    assert (row["data"], row["n_closed"], row["lift"]) == ("none yet", 0, None)
    assert run("status").code == 0


def test_a_correction_shows_in_status(run: Run, copied: SmallWorld) -> None:
    copied.correct(CLOSED[3])
    assert run("status", "--json").json[0]["n_stale"] == 1


def test_after_restating_all_that_a_correction_touches_nothing_is_stale(run: Run, copied: SmallWorld) -> None:
    """What was published on top of the old learning is history, and no longer waits for anything."""
    copied.correct(CLOSED[3])
    copied.close(CLOSED[3], CLOSED[-1])
    assert run("status", "--json").json[0]["n_stale"] == 0


def test_audit_shows_seven_items_with_their_evidence(run: Run, there: SmallWorld) -> None:
    found = run("audit", "--json").json
    assert [item["item"] for item in found["items"]] == list(range(1, 8))
    assert all(item["evidence"] for item in found["items"])
    assert found["cycle"] == CLOSED[-1].isoformat()
    assert run("audit").code == 0


def test_audit_before_anything_ran_says_what_to_do(run: Run, empty: Path) -> None:
    ran = run("audit")
    assert ran.code == 2
    assert "flywheel demo" in ran.said


def a_reference(world: SmallWorld) -> str:
    entries = world.lake.read(tables.REFERENCE_CORPUS, FLYWHEEL, CLOSED[-2]).sort_by("rank")
    return entries["reference_id"].to_pylist()[0]


def test_trace_leads_from_an_output_to_what_it_became_a_reference_for(run: Run, there: SmallWorld) -> None:
    output = a_reference(there)
    found = run("trace", output, "--json").json
    assert found["output"]["output_id"] == output
    assert found["cycle"]["cycle"] == found["output"]["cycle"]
    assert {row["kind"] for row in found["used_by"]} == {"corpus", "prompt", "cycle"}
    shown = run("trace", output)
    assert shown.code == 0
    for part in ("produced by", "published", "judged", "became a reference for", "promote"):
        assert part in shown.out


def test_control_an_output_that_was_no_winner_became_nothing(run: Run, there: SmallWorld) -> None:
    rejected = there.lake.read(tables.SCORED_OUTPUTS, FLYWHEEL, where="decision = 'reject'")["output_id"][0].as_py()
    assert run("trace", rejected, "--json").json["reference"] is None
    assert "it never entered the reference corpus" in run("trace", rejected).out


@pytest.mark.parametrize("output", ["nobody", "' or 1=1 --", ""])
def test_trace_of_an_output_there_is_not(run: Run, there: SmallWorld, output: str) -> None:
    ran = run("trace", output)
    assert ran.code == 2
    assert "is not in" in ran.said


def test_sql_answers_one_query_and_leaves(run: Run, there: SmallWorld) -> None:
    ran = run("sql", "-c", "select count(*) as n, max(cycle) as last from cycles", "--json")
    assert ran.json == [{"n": len(CLOSED), "last": CLOSED[-1].isoformat()}]
    assert "1 row(s)" in run("sql", "-c", "select 1 as one").out


def test_sql_prints_json_that_is_json(run: Run, there: SmallWorld) -> None:
    query = "select 'nan'::double as a, ['inf'::double] as b, 1.5::decimal(9, 2) as c, null as d, {'x': 1} as e"
    assert run("sql", "-c", query, "--json").json == [{"a": None, "b": [None], "c": "1.50", "d": None, "e": {"x": 1}}]


@pytest.mark.parametrize(
    "statement",
    [
        "insert into momentum select * from momentum",
        "create table mine (a int)",
        "drop table momentum",
        "delete from momentum",
        "select 1; update momentum set lift = 1",
    ],
)
def test_sql_reads_only(run: Run, there: SmallWorld, statement: str) -> None:
    before = there.paths.published_file.read_bytes()
    ran = run("sql", "-c", statement)
    assert ran.code == 2
    assert "read-only" in ran.said
    assert there.paths.published_file.read_bytes() == before


def test_sql_that_is_wrong_is_answered_with_duckdbs_words(run: Run, there: SmallWorld) -> None:
    ran = run("sql", "-c", "select nothing from cycles")
    assert ran.code == 2
    assert "The query was refused" in ran.said
    assert "nothing" in ran.said


@pytest.mark.parametrize("arguments", [("sql", "-c", "select 1"), ("sql",), ("trace", "x")])
def test_before_anything_is_published_the_error_says_what_to_do(run: Run, empty: Path, arguments) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert "nothing was published yet" in ran.said
    assert "flywheel replay FILE" in ran.said
    assert not empty.exists()


def test_a_published_file_that_is_none_is_an_error_in_words(run: Run, empty: Path) -> None:
    empty.mkdir()
    (empty / "flywheel.duckdb").write_bytes(b"no database" * 1000)
    ran = run("sql", "-c", "select 1")
    assert ran.code == 2
    assert "cannot be opened" in ran.said


def test_the_prompt_survives_a_wrong_query_and_ends_with_the_input(
    run: Run, there: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["select nothing;", "select count(*) as n", "from cycles;"])

    def typed(_: str) -> str:
        with contextlib.suppress(StopIteration):
            return next(lines)
        raise EOFError

    monkeypatch.setattr("builtins.input", typed)
    ran = run("sql")
    assert ran.code == 0
    assert "The query was refused" in ran.said
    assert f" {len(CLOSED)} " in ran.out


# -- making flywheels ------------------------------------------------------------------------------------------------
@pytest.fixture
def defs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cli, "DEFS_DIR", tmp_path / "defs")
    return tmp_path / "defs"


def test_init_writes_a_yaml_that_loads(run: Run, defs: Path) -> None:
    assert run("init", "product_descriptions").code == 0
    spec = load_spec(defs / "product_descriptions" / "defs.yaml")
    assert spec.name == "product_descriptions"
    assert spec.start == date.today() - timedelta(days=date.today().weekday())


def test_init_never_overwrites(run: Run, defs: Path) -> None:
    run("init", "news")
    (defs / "news" / "defs.yaml").write_text("mine")
    ran = run("init", "news")
    assert ran.code == 2
    assert "exists already" in ran.said
    assert (defs / "news" / "defs.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["News", "two words", "../escape", "a/b", "1st", "", "ü"])
def test_init_refuses_a_name_that_no_flywheel_can_have(run: Run, defs: Path, name: str) -> None:
    ran = run("init", name)
    assert ran.code == 2
    assert "lower-case letters" in ran.said
    assert not defs.exists()


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("flywheel-pipelines 0.")


def test_an_unknown_command_is_refused(run: Run) -> None:
    assert run("fly").code == 2


def test_looking_does_not_wait_for_dagster() -> None:
    """`status` and `sql` answer at once; importing Dagster takes seconds."""
    script = (
        "import sys; import flywheel_pipelines.cli, flywheel_pipelines.overview, flywheel_pipelines.published, "
        "flywheel_pipelines.starter, flywheel_pipelines.terminal; "
        "print([name for name in sys.modules if name.startswith(('dagster', 'sklearn', 'dbt'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_dg_scaffolds_a_flywheel_in_a_copy_of_the_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    left_out = shutil.ignore_patterns(
        ".venv", ".git", "data", "target", "logs", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(PROJECT_ROOT, project, ignore=left_out, symlinks=True)
    dg = str(Path(sys.executable).with_name("dg"))
    environment = {**os.environ, "PYTHONPATH": str(project)}
    component = "flywheel_pipelines.components.FlywheelComponent"
    done = subprocess.run(
        [dg, "scaffold", "defs", component, "newsletter"], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_spec(project / "flywheel_pipelines" / "defs" / "newsletter" / "defs.yaml").name == "newsletter"
    checked = subprocess.run([dg, "check", "yaml"], cwd=project, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
