"""`flywheel feeds`: presets with how sure they are, and YAML to paste."""

from __future__ import annotations

import yaml

from flywheel_pipelines.spec import FeedSpec
from flywheel_pipelines_tests.cli.runner import Run


def test_all_presets_are_listed_with_how_sure_they_are(run: Run) -> None:
    ran = run("feeds")
    assert ran.code == 0
    assert "search_console" in ran.said
    assert "C not verified" in ran.said


def test_json_lists_what_each_fills_in(run: Run) -> None:
    listed = run("feeds", "--json").json
    assert (listed["hubspot"]["header_certainty"], listed["hubspot"]["feed"]["kind"]) == ("C", "metrics")


def test_one_preset_is_yaml_to_paste(run: Run) -> None:
    pasted = yaml.safe_load(run("feeds", "ga4").out)["feeds"]["ga4"]
    assert FeedSpec.model_validate(pasted).columns["views"] == "Views"


def test_json_of_one_preset(run: Run) -> None:
    assert run("feeds", "zendesk", "--json").json["feed"]["kind"] == "tickets"


def test_a_preset_that_is_not_there_is_answered_with_those_that_are(run: Run) -> None:
    ran = run("feeds", "ga5")
    assert ran.code == 2
    assert "Did you mean ga4?" in ran.said
