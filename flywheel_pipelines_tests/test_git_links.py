"""Code references lead to a git host when one is named, and stay files otherwise."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from flywheel_pipelines.definitions import defs
from flywheel_pipelines.git_links import BRANCH, PLATFORM, REFERENCES, URL, GitHost, git_host, linked
from flywheel_pipelines.paths import PROJECT_ROOT

HERE = "https://github.com/acme/flywheels"


@pytest.fixture(scope="module")
def found() -> dg.Definitions:
    return defs()  # type: ignore[return-value]


def references(definitions: dg.Definitions) -> list[dg.LocalFileCodeReference | dg.UrlCodeReference]:
    specs = definitions.resolve_all_asset_specs()
    return [one for spec in specs if REFERENCES in spec.metadata for one in spec.metadata[REFERENCES].code_references]


def urls(definitions: dg.Definitions) -> list[str]:
    return [reference.url for reference in references(definitions) if isinstance(reference, dg.UrlCodeReference)]


def test_each_reference_leads_to_a_file_of_the_repository(found: dg.Definitions) -> None:
    made = linked(found, {URL: f"{HERE}.git", BRANCH: "v1.2"})
    assert len(urls(made)) == len(references(found)) > 40
    tracked = set(subprocess.run(["git", "ls-files"], cwd=PROJECT_ROOT, capture_output=True, text=True).stdout.split())
    paths = [url.removeprefix(f"{HERE}/tree/v1.2/").partition("#L")[0] for url in urls(made)]
    assert [path for path in paths if not (PROJECT_ROOT / path).is_file()] == []
    assert not tracked or set(paths) <= tracked
    assert any(path.endswith("defs.yaml") for path in paths)
    assert any("#L" in url for url in urls(made))


def test_nothing_else_changes(found: dg.Definitions) -> None:
    made = linked(found, {URL: HERE})
    before, after = (
        {spec.key: {name: value for name, value in spec.metadata.items() if name != REFERENCES} for spec in specs}
        for specs in (found.resolve_all_asset_specs(), made.resolve_all_asset_specs())
    )
    assert before == after
    checks = [each.resolve_asset_graph().asset_check_keys for each in (found, made)]
    assert checks[0] == checks[1] != set()
    jobs = [{job.name for job in each.resolve_all_job_defs()} for each in (found, made)]
    assert jobs[0] == jobs[1]


def test_off_by_default(found: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    assert linked(found, {}) is found
    assert urls(found) == []
    monkeypatch.setenv(URL, HERE)
    assert len(urls(defs())) == len(references(found))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environment", "base"),
    [
        ({URL: HERE}, f"{HERE}/tree/main"),
        ({URL: "https://gitlab.com/acme/flywheels/", BRANCH: "x"}, "https://gitlab.com/acme/flywheels/-/tree/x"),
        ({URL: "https://git.acme.dev/a/b", PLATFORM: "gitlab"}, "https://git.acme.dev/a/b/-/tree/main"),
    ],
)
def test_hosts(environment: dict[str, str], base: str) -> None:
    assert git_host(environment) == GitHost(base)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({URL: "git@github.com:acme/flywheels.git"}, f"{URL}: expected https://"),
        ({URL: "https://git.acme.dev/a/b"}, f"{PLATFORM}: expected one of github, gitlab, found None for git.acme.dev"),
        ({URL: HERE, PLATFORM: "svn"}, f"{PLATFORM}: expected one of github, gitlab, found 'svn'"),
        ({URL: "https://me:tok-secret@github.com/a/b"}, f"{URL}: it holds a user or a password"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_of_and_everything_loads(
    found: dg.Definitions,
    environment: dict[str, str],
    said: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("dagster"), "propagate", True)
    assert linked(found, environment) is found
    assert said in caplog.text
    assert "tok-secret" not in caplog.text


def test_a_file_of_another_package_stays_a_file() -> None:
    assert GitHost("https://x/tree/main").url_of(Path("/usr/lib/python3/dagster/asset.py"), 3) is None
    assert GitHost("https://x/tree/main").url_of(PROJECT_ROOT / "a" / "b.py", 3) == "https://x/tree/main/a/b.py#L3"
