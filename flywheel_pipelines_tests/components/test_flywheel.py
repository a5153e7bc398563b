"""From a spec to Dagster: keys, groups, tags, partitions, policies, schemas, jobs, and the graph of the design."""

from __future__ import annotations

import itertools
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.testing import create_defs_folder_sandbox

from flywheel_pipelines.components import FlywheelComponent
from flywheel_pipelines.components.kit import LOOP, column_schema, furthest, preview, result
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.learning.prompt import DEFAULT_TEMPLATE
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.spec import parse_spec
from flywheel_pipelines.starter import starter_yaml
from flywheel_pipelines_tests.lake_samples import rows
from flywheel_pipelines_tests.small_world import definitions

OPENING = ("briefs", "cycle_manifest", "generated_outputs", "published_outputs")
CLOSING = (
    "performance_metrics", "scored_outputs", "scoring_model", "reference_corpus", "prompt_gate", "refreshed_prompt",
    "momentum",
)  # fmt: skip
STARTER = yaml.safe_load(starter_yaml("news", date(2026, 1, 7)))["attributes"]


def component(**changes: object) -> FlywheelComponent:
    return FlywheelComponent(parse_spec({**STARTER, "owners": ["team:growth"], **changes}, "defs.yaml"))


def graph_of(one: FlywheelComponent):
    # The context names a folder that this component has no need of.
    return with_resources(one.build_defs(None)).resolve_asset_graph()  # type: ignore[arg-type]


def with_resources(found: dg.Definitions) -> dg.Definitions:
    return dg.Definitions.merge(
        found, dg.Definitions(resources={"lake": LakeResource.configure_at_launch(), "llm": LlmResource()})
    )


@pytest.fixture(scope="module")
def graph():
    return graph_of(component())


def key(asset: str) -> dg.AssetKey:
    return dg.AssetKey(["news", asset])


def test_the_assets_are_those_of_the_design(graph) -> None:
    assert graph.get_all_asset_keys() == {key(asset) for asset in (*OPENING, *CLOSING)}


@pytest.mark.parametrize("asset", [*OPENING, *CLOSING])
def test_every_asset_says_whose_it_is_and_what_it_holds(graph, asset: str) -> None:
    node = graph.get(key(asset))
    assert (node.group_name, node.owners, node.kinds) == ("news", ["team:growth"], {"python", "parquet"})
    assert node.description == tables.TABLES[asset].description
    assert node.tags["layer"] == tables.TABLES[asset].layer


@pytest.mark.parametrize("asset", [*OPENING, *CLOSING])
def test_every_column_reaches_the_ui_with_type_and_description(graph, asset: str) -> None:
    schema = graph.get(key(asset)).metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == ["flywheel", "cycle", *tables.TABLES[asset].columns]
    assert all(column.type and column.description for column in schema.columns)


@pytest.mark.parametrize("asset", OPENING)
def test_cycles_are_opened_one_per_run(graph, asset: str) -> None:
    assert graph.get(key(asset)).backfill_policy == dg.BackfillPolicy.multi_run(1)


@pytest.mark.parametrize("asset", CLOSING)
def test_any_number_of_cycles_is_closed_in_one_run(graph, asset: str) -> None:
    assert graph.get(key(asset)).backfill_policy == dg.BackfillPolicy.single_run()


@pytest.mark.parametrize(
    ("cadence", "start"), [("daily", "2026-01-31"), ("weekly", "2026-01-05"), ("monthly", "2026-01-01")]
)
def test_partitions_follow_the_cadence(cadence: str, start: str) -> None:
    graph = graph_of(component(cadence=cadence, start=start))
    partitions = {graph.get(key(asset)).partitions_def for asset in (*OPENING, *CLOSING)}
    assert len(partitions) == 1
    found = partitions.pop()
    assert found is not None
    assert found.get_first_partition_key() == start


# -- the graph -------------------------------------------------------------------------------------------------------
def parents(graph, asset: str) -> set[str]:
    return {parent.path[-1] for parent in graph.get(key(asset)).parent_keys}


@pytest.mark.parametrize(
    "chain",
    [
        OPENING,
        ("published_outputs", *CLOSING[:3]),
        ("scored_outputs", "reference_corpus", "refreshed_prompt", "momentum"),
        ("performance_metrics", "prompt_gate", "refreshed_prompt"),
    ],
)
def test_the_graph_goes_as_the_loop_does(graph, chain: tuple[str, ...]) -> None:
    for before, after in itertools.pairwise(chain):
        assert before in parents(graph, after)


def test_the_graph_has_the_arrows_of_the_loop_and_no_others(graph) -> None:
    """Arrows that the others imply bend the picture in the UI until nobody sees the loop in it."""
    drawn = {(parent, asset) for asset in (*OPENING, *CLOSING) for parent in parents(graph, asset)}
    assert drawn == {
        *itertools.pairwise(
            (*OPENING, "performance_metrics", "scored_outputs", "reference_corpus", "refreshed_prompt")
        ),
        ("published_outputs", "scored_outputs"),
        ("scored_outputs", "scoring_model"),
        ("performance_metrics", "prompt_gate"),
        ("prompt_gate", "refreshed_prompt"),
        ("scoring_model", "momentum"),
        ("refreshed_prompt", "momentum"),
    }
    assert drawn == {(parent, asset) for asset, before in LOOP.items() for parent in before}


def test_an_asset_that_another_implies_is_not_among_the_furthest() -> None:
    assert furthest(LOOP) == ["momentum"]
    assert furthest(["briefs", "scoring_model", "refreshed_prompt"]) == ["refreshed_prompt", "scoring_model"]
    assert furthest([]) == []


def test_the_loop_is_cut_between_prompt_and_manifest(graph) -> None:
    """Published history is not recomputed: nothing of a close leads back into production."""
    for asset in OPENING:
        assert parents(graph, asset) <= set(OPENING)


def test_the_graph_has_no_circle(graph) -> None:
    seen: list[dg.AssetKey] = []
    for level in graph.toposorted_asset_keys_by_level:
        for asset in level:
            assert set(graph.get(asset).parent_keys) <= set(seen)
        seen.extend(level)
    assert len(seen) == len(OPENING) + len(CLOSING)


def test_everything_a_correction_touches_lies_downstream_of_the_metrics(graph) -> None:
    downstream = dg.AssetSelection.assets(key("performance_metrics")).downstream().resolve(graph)
    assert downstream == {key(asset) for asset in CLOSING}


@pytest.mark.parametrize("asset", CLOSING)
def test_no_arrow_leads_from_another_cycle_so_that_a_backfill_is_one_run(graph, asset: str) -> None:
    """Dagster puts assets into one run of a range only when each cycle depends on the same cycle of the others."""
    for parent in graph.get(key(asset)).parent_keys:
        mapping = graph.get_partition_mapping(key(asset), parent_asset_key=parent)
        assert isinstance(mapping, dg.TimeWindowPartitionMapping)
        assert (mapping.start_offset, mapping.end_offset) == (0, 0)


def test_assets_that_are_materialized_without_a_job_run_in_one_process_too() -> None:
    job = definitions().resolve_implicit_global_asset_job_def()
    assert job.executor_def.name == "in_process"


# -- jobs ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("verb", "assets"), [("open", OPENING), ("close", CLOSING)])
def test_a_flywheel_has_a_job_for_each_half_of_the_loop(verb: str, assets: tuple[str, ...]) -> None:
    job = definitions().resolve_job_def(f"archive_headlines__{verb}")
    assert {asset.path[-1] for asset in job.asset_layer.selected_asset_keys} == set(assets)
    assert job.partitions_def is not None
    assert job.tags["flywheel"] == "archive_headlines"
    assert job.description


def test_synthetic_flywheels_are_tagged_and_others_are_not(graph) -> None:
    synthetic = graph_of(component(is_synthetic=True))
    assert synthetic.get(key("momentum")).tags["synthetic"] == "true"
    assert "synthetic" not in graph.get(key("momentum")).tags


def test_the_whole_project_loads_and_every_flywheel_has_both_jobs() -> None:
    names = {job.name for job in definitions().resolve_all_job_defs()}
    assert {"archive_headlines__open", "archive_headlines__close", "warehouse__publish"} <= names


# -- YAML through Dagster --------------------------------------------------------------------------------------------
def load(folder: Path, text: str) -> dg.Definitions:
    with create_defs_folder_sandbox(project_name=f"sandbox_{folder.name.replace('-', '_')}") as sandbox:
        path = sandbox.defs_folder_path / "news"
        path.mkdir()
        (path / "defs.yaml").write_text(text)
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, found):
            return with_resources(found)


def test_the_starter_yaml_becomes_a_flywheel(tmp_path: Path) -> None:
    found = load(tmp_path, starter_yaml("news", date(2026, 1, 7)))
    assert {asset.key for asset in found.resolve_all_asset_specs()} == {key(asset) for asset in (*OPENING, *CLOSING)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("measurement_window:", "measurment_window:", "measurment_window"),
        ("confidence: 0.9", "confidence: 2", "confidence"),
        ("control: 0.2", "control: 0.01", "0.05 to 0.95"),
        ("metric: click_rate", "metric: ctr", "not one of the metrics: click_rate"),
    ],
)
def test_a_bad_yaml_is_refused_by_dagster_with_file_line_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = starter_yaml("news", date(2026, 1, 7)).replace(old, new)
    with pytest.raises(ComponentTreeException) as caught:
        load(tmp_path, text)
    line = 1 + next(number for number, row in enumerate(text.splitlines()) if new in row)
    words = str(caught.value.__cause__)
    assert said in words
    # A problem between two keys is reported where the attributes begin.
    assert f"defs.yaml:{line}" in words or "between" in said or "not one" in said


def test_control_off_survives_dagsters_own_reading_of_yaml(tmp_path: Path) -> None:
    text = starter_yaml("news", date(2026, 1, 7)).replace("control: 0.2", "control: off")
    assert load(tmp_path, text).resolve_all_asset_specs()


# -- templates, previews, schemas ------------------------------------------------------------------------------------
def test_the_template_is_the_built_in_one_unless_named(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("Mine: {{ references }}")
    named = component(prompt={"template": "mine.md"}).spec
    assert Flywheel(component().spec).prompt_template() == DEFAULT_TEMPLATE
    assert Flywheel(named, tmp_path).prompt_template() == "Mine: {{ references }}"


@pytest.mark.parametrize("content", [None, b"caf\xe9"])
def test_a_template_that_cannot_be_read_is_refused_with_the_key(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "mine.md").write_bytes(content)
    flywheel = Flywheel(component(prompt={"template": "mine.md"}).spec, tmp_path)
    with pytest.raises(SpecError, match=r"mine\.md: the prompt template cannot be read.*Key prompt\.template"):
        flywheel.prompt_template()


def test_a_preview_stays_one_table_whatever_the_texts_hold() -> None:
    briefs = rows(tables.BRIEFS, [{"brief_id": "a|b", "title": "one\ntwo\r" + "x" * 200, "n_candidates": 3}] * 10)
    lines = preview(briefs).splitlines()
    assert lines[2].count(" | ") == len(briefs.column_names) - 1
    assert "a\\|b" in lines[2]
    assert len(lines[2]) < 200
    assert lines[-1] == "2 more rows"


@pytest.mark.parametrize("table", tables.ALL_TABLES, ids=lambda table: table.name)
def test_a_single_key_column_is_shown_as_unique(table: TableContract) -> None:
    unique = [column.name for column in column_schema(table).columns if column.constraints.unique]
    assert unique == (list(table.key) if len(table.key) == 1 else [])


def test_a_run_without_cycles_still_reports() -> None:
    shown = result(Recorder(None, "news"), {"more": 1})  # type: ignore[arg-type]
    assert shown.metadata == {"dagster/partition_row_count": 0, "more": 1}
