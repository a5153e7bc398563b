"""The drift test: Great Expectations' suites, dbt's tests and docs/feeds.md say what the contracts say."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel_pipelines.cli.contracts import DBT_FILE, DOCS_FILE, declared_contracts, drifted, files_of
from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.feedback.contracts import FeedContract, contracts_of
from flywheel_pipelines.feedback.contracts.dbt_tests import SEVERITIES, dbt_sources, name_of_test, table_name
from flywheel_pipelines.feedback.contracts.suite import to_gx
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.dbt import BUILD_FILE_VARIABLE
from flywheel_pipelines.lake.dbt_project import CLI, DBT_PROJECT, run_dbt
from flywheel_pipelines.lake.snapshot import create_layer_views
from flywheel_pipelines.paths import DEFS_DIR, PROJECT_ROOT
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.feedback.contract_lakes import (
    WEEKS,
    ContractLake,
    letters,
    measurement,
    output_id,
)

CONTRACTS = declared_contracts(DEFS_DIR)
WEEK, DAY = WEEKS[0], WEEKS[0] + timedelta(days=1)
Said = Mapping[str, Mapping[str, tuple[str, str]]]
"""Feed to rule to (severity, what it expects)."""


def said_by_contracts(contracts: list[FeedContract]) -> Said:
    return {
        table_name(contract): {rule.name: (rule.severity, rule.expected) for rule in contract.rules}
        for contract in contracts
    }


def said_by_dbt(text: str) -> Said:
    severities = {dbt: ours for ours, dbt in SEVERITIES.items()}
    [source] = yaml.safe_load(text)["sources"]
    return {
        table["name"]: {
            test["name"].removeprefix(f"{table['name']}__"): (
                severities[test["config"]["severity"]],
                test["description"].removeprefix("Expected: ").removesuffix("."),
            )
            for one in table["data_tests"]
            for test in one.values()
        }
        for table in source["tables"]
    }


def said_by_docs(text: str) -> Said:
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        feed, flywheel = re.match(r"(\w+) of (\w+)", section).groups()  # type: ignore[union-attr]
        rules = re.findall(r"^\| `(\w+)` \| (block|warn)s \| (.*?) \| `expect_", section, re.MULTILINE)
        found[f"{flywheel}__{feed}"] = {name: (severity, expected) for name, severity, expected in rules}
    return found


def said_by_suites(contracts: list[FeedContract]) -> Said:
    severities = {"critical": "block", "warning": "warn"}
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for contract in contracts:
        suites = [to_gx(contract, about) for about in ("facts", "cycles")]
        found[table_name(contract)] = {
            str((one.meta or {})["rule"]): (severities[str(one.severity.value)], str(one.notes))
            for suite in suites
            for one in suite.expectations
        }
    return found


# -- what is written -------------------------------------------------------------------------------------------------
def test_the_files_of_the_project_are_what_the_contracts_say() -> None:
    assert drifted(CONTRACTS, PROJECT_ROOT) == [], "run `flywheel contracts --write`"


def test_dbt_docs_and_suites_name_the_same_rules_severities_and_expectations() -> None:
    contracts = said_by_contracts(CONTRACTS)
    assert len(contracts) >= 4
    assert said_by_dbt((PROJECT_ROOT / DBT_FILE).read_text(encoding="utf-8")) == contracts
    assert said_by_docs((PROJECT_ROOT / DOCS_FILE).read_text(encoding="utf-8")) == contracts
    assert said_by_suites(CONTRACTS) == contracts


def test_a_suite_has_every_expectation_of_its_contract_with_its_arguments() -> None:
    for contract in CONTRACTS:
        for about in ("facts", "cycles"):
            made = [one.configuration for one in to_gx(contract, about).expectations]
            expected = [one for rule in contract.of_frame(about) for one in rule.expectations]
            assert [one.type for one in made] == [one.kind for one in expected]
            for configuration, wanted in zip(made, expected, strict=True):
                assert dict(wanted.arguments).items() <= configuration.kwargs.items()


@pytest.mark.parametrize(
    "change",
    [
        {"severity": "warn"},
        {"expected": "something else is the case"},
        {"name": "another_name"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_control_a_contract_that_changed_is_noticed_in_each_file(change: dict[str, Any]) -> None:
    contract = CONTRACTS[0]
    changed = replace(contract, rules=(replace(contract.rules[0], **change), *contract.rules[1:]))
    contracts = [changed, *CONTRACTS[1:]]
    assert drifted(contracts, PROJECT_ROOT) == [DBT_FILE, DOCS_FILE]
    said = said_by_contracts(contracts)
    assert said_by_dbt((PROJECT_ROOT / DBT_FILE).read_text(encoding="utf-8")) != said
    assert said_by_docs((PROJECT_ROOT / DOCS_FILE).read_text(encoding="utf-8")) != said
    assert said_by_suites(CONTRACTS) != said
    assert said_by_suites(contracts) == said


@pytest.mark.parametrize("path", [DBT_FILE, DOCS_FILE], ids=str)
def test_control_a_file_that_was_edited_by_hand_or_removed_is_noticed(tmp_path: Path, path: Path) -> None:
    for name, text in files_of(CONTRACTS).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert drifted(CONTRACTS, tmp_path) == []
    edited = (tmp_path / path).read_text(encoding="utf-8").replace("whole number", "number")
    (tmp_path / path).write_text(edited, encoding="utf-8")
    assert drifted(CONTRACTS, tmp_path) == [path]
    (tmp_path / path).unlink()
    assert drifted(CONTRACTS, tmp_path) == [path]


# -- the command -----------------------------------------------------------------------------------------------------
def test_the_command_says_that_the_files_agree(run: Run) -> None:
    ran = run("contracts", "--check")
    assert (ran.code, "agree" in ran.said) == (0, True)


def test_the_command_lists_every_contract(run: Run) -> None:
    assert "outreach.mailer (metrics)" in run("contracts").said
    found = run("contracts", "--json").json
    assert {(one["flywheel"], one["feed"]) for one in found} == {(one.flywheel, one.feed) for one in CONTRACTS}
    assert all(rule["great_expectations"] and rule["dbt"] for one in found for rule in one["rules"])


# -- verdicts --------------------------------------------------------------------------------------------------------
def broken_lake(root: Path) -> ContractLake:
    """Every rule of the feeds `mailer` and `desk` is broken, and those of `leads`, `ids` and `support` that can be."""
    lake = ContractLake(root).publish(WEEKS[:8])
    for week in WEEKS[:8]:
        if week != WEEKS[4]:  # fresh
            lake.measure(week)
    bad = measurement("nobody", "sends", -1.5, DAY)  # known_outputs, counts
    less = measurement(output_id(WEEK), "sends", 1.0, DAY)  # reply_rate_within_exposure
    empty = measurement(output_id(WEEK, 1), None, 3.0, DAY)  # complete
    facts = [bad, less, empty, *[measurement(output_id(WEEK, 2), "sends", 40.0, DAY) | {"source_row": 9}] * 2]  # unique
    lake.put("mailer", tables.METRIC_LEDGER, facts, cycle=WEEK, batch="bad", recorded_at=cycle_start(WEEKS[8]))
    many = [measurement(output_id(WEEKS[6]), "sends", 1.0, WEEKS[6] + timedelta(days=n % 7)) for n in range(80)]
    lake.put("mailer", tables.METRIC_LEDGER, many, cycle=WEEKS[6], batch="many")  # volume
    review = {"output_id": "nobody", "reviewer": None, "decision": "liked", "edit_similarity": 2.0, "reviewed_on": DAY}
    lake.put("desk", tables.REVIEWS, [review | {"source_row": 1}] * 2, cycle=WEEK, batch="reviews")
    lake.put("leads", tables.BRIEF_LEDGER, [{"segment": "all", "source_row": 1}] * 2, cycle=WEEK, batch="briefs")
    lake.put("ids", tables.OUTPUT_LINKS, [{"output_id": "nobody", "output_cycle": WEEK}] * 2, cycle=WEEK, batch="links")
    lake.put("support", tables.TICKETS, [{"ticket_id": "t", "source_row": 1}] * 2, cycle=WEEK, batch="tickets")
    return lake


def good_lake(root: Path) -> ContractLake:
    """Every feed has come in, and every rule is kept."""
    lake = ContractLake(root).publish(WEEKS[:8])
    for week in WEEKS[:8]:
        lake.measure(week)
    review = {"output_id": output_id(WEEK), "reviewer": "r", "decision": "accepted", "reviewed_on": DAY}
    lake.put("desk", tables.REVIEWS, [review], cycle=WEEK, batch="reviews")
    brief = {"brief_id": "b", "segment": "all", "title": "t", "fields": "{}"}
    lake.put("leads", tables.BRIEF_LEDGER, [brief], cycle=WEEK, batch="briefs")
    link = {"external_id": "x", "output_id": output_id(WEEK), "output_cycle": WEEK}
    lake.put("ids", tables.OUTPUT_LINKS, [link], cycle=WEEK, batch="links")
    ticket = {"ticket_id": "t", "created_at": cycle_start(WEEK), "segment": "all", "text": "It broke"}
    lake.put("support", tables.TICKETS, [ticket], cycle=WEEK, batch="tickets")
    return lake


def verdicts_of_great_expectations(lake: ContractLake) -> dict[str, str]:
    """Per rule of every feed, by the name of dbt's test: pass, warn or error."""
    found = {}
    for contract in contracts_of(lake.spec):
        findings = lake.check(contract.feed, *WEEKS[:8])
        for result in findings.rules:
            found[name_of_test(contract, result.rule)] = "pass" if result.passed else SEVERITIES[result.rule.severity]
    return found


def verdicts_of_dbt(lake: ContractLake, root: Path) -> dict[str, str]:
    """The same by dbt, whose project is a copy with the tests of this lake's contracts."""
    project, build, target = root / "dbt_project", root / "flywheel.duckdb", root / "target"
    shutil.copytree(DBT_PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    (project / "models" / "staging" / DBT_FILE.name).write_text(dbt_sources(contracts_of(letters())), encoding="utf-8")
    create_layer_views(build, lake.root)
    command = [*CLI, "test", "--quiet", "--select", "source:feeds"]
    done = run_dbt(command, project, target, {BUILD_FILE_VARIABLE: str(build)})
    assert (target / "run_results.json").exists(), done.stdout + done.stderr
    results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
    status = {"pass": "pass", "warn": "warn", "fail": "error"}
    return {one["unique_id"].split(".")[2]: status[one["status"]] for one in results}


@pytest.mark.slow
@pytest.mark.parametrize("make", [good_lake, broken_lake])
def test_dbt_and_great_expectations_give_the_same_verdicts(tmp_path: Path, make: Any) -> None:
    lake = make(tmp_path / "lake")
    expected = verdicts_of_great_expectations(lake)
    assert verdicts_of_dbt(lake, tmp_path) == expected
    broken = {name for name, verdict in expected.items() if verdict != "pass"}
    if make is good_lake:
        assert broken == set()
    else:
        kept = set(expected) - broken
        # A file of other columns is none that dbt could make a view of; the others are too few to have a usual volume.
        assert {name.split("__", 1)[1] for name in kept} == {
            "mailer__schema", "desk__schema", "leads__schema", "ids__schema", "support__schema",
            "desk__volume", "leads__volume", "support__volume",
        }  # fmt: skip
