"""Training sets from the lake: real edits, a flywheel that a model wrote, and closing again."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.errors import CycleOrderError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.learning.training_sets import PERSONAL, split_of
from flywheel_pipelines.llm.training_files import check_file
from flywheel_pipelines.loop.closing import measure
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.loop.training import Made, export_training_set, make_training_sets
from flywheel_pipelines.spec import TrainingSetsSpec
from flywheel_pipelines_tests.feedback.reviews.desks import NAME, WEEKS, Desk, review
from flywheel_pipelines_tests.feedback.reviews.test_similarity import real_pairs
from flywheel_pipelines_tests.lake_samples import rows
from flywheel_pipelines_tests.small_world import fingerprint
from flywheel_pipelines_tests.written_world import WrittenWorld

FRAME = "Write well.\n\n# Brief\n\n{{ brief }}"
CYCLE = WEEKS[0]


class ReviewedDesk(Desk):
    """Drafts of one cycle, a brief each, with judgements as a close leaves them, and reviews landed as files."""

    def __init__(self, root: Path, drafts: dict[str, str], **judged: Any) -> None:
        super().__init__(root, drafts)
        at = {"flywheel": NAME, "cycle": CYCLE}
        # Outputs with one text answer one brief: some real drafts were edited by several people.
        first = {text: name for name, text in reversed(drafts.items())}
        brief_of = {name: f"b-{first[text]}" for name, text in drafts.items()}
        same = {"segment": "bakeries", "arm": "flywheel"}
        published = [
            {"output_id": name, "brief_id": brief_of[name], "text": text, **same} for name, text in drafts.items()
        ]
        briefs = [{"brief_id": f"b-{name}", "title": f"About {name}", "locale": "en"} for name in first.values()]
        judgement = {"decision": "promote", "is_mature": True, "p_above": 0.95, "reason": "in a test", **judged}
        scored = [{"output_id": name, "brief_id": brief_of[name], **judgement} for name in drafts]
        manifest = [{"control_prompt_version": "prompt-0", "config_hash": "c", "is_synthetic": False}]
        for table, records in (
            (tables.PUBLISHED_OUTPUTS, published), (tables.BRIEFS, briefs),
            (tables.SCORED_OUTPUTS, scored), (tables.CYCLE_MANIFEST, manifest),
        ):  # fmt: skip
            self.lake.write(table, rows(table, records), **at)
        fact = {"batch_id": "prompt-prompt-0", "recorded_at": datetime(2026, 1, 5, tzinfo=UTC), "source_row": 1}
        prompt = rows(tables.PROMPT_VERSIONS, [{"prompt_version": "prompt-0", "frame": FRAME, **fact}])
        header = {"batch_id": fact["batch_id"], "source": "test", "recorded_at": fact["recorded_at"]}
        self.lake.append_batch(NAME, {**header, "n_rows": 1, "n_quarantined": 0}, {tables.PROMPT_VERSIONS: prompt})

    def export(self, **settings: Any) -> Made:
        """Close what reviews changed, and export."""
        flywheel = Flywheel(self.spec)
        measure(flywheel, Recorder(self.lake, NAME), [CYCLE])
        return export_training_set(flywheel, self.lake, CYCLE, self.root / "training", TrainingSetsSpec(**settings))


def real_desk(root: Path, **judged: Any) -> ReviewedDesk:
    """Every real pair of draft and edit: the draft went out, the edit came back in a file of reviews."""
    drafts = {f"out{number:03}": draft for number, (draft, _) in enumerate(real_pairs())}
    desk = ReviewedDesk(root, drafts, **judged)
    landed = desk.land(
        *[
            review(name, final_text=final, date="2026-01-15")
            for name, (_, final) in zip(drafts, real_pairs(), strict=True)
        ]
    )
    assert (landed.n_rows, landed.n_quarantined) == (150, 0)
    return desk


def lines_of(made: Made, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.folder / name).read_text(encoding="utf-8").splitlines()]


# -- real edits ------------------------------------------------------------------------------------------------------
def test_of_real_edits_the_edited_text_is_preferred_and_the_draft_loses(tmp_path: Path) -> None:
    made = real_desk(tmp_path).export()
    both = [*lines_of(made, "preference.train.jsonl"), *lines_of(made, "preference.validation.jsonl")]
    said = {(row["preferred_output"][0]["content"], row["non_preferred_output"][0]["content"]) for row in both}
    assert said <= {(edit, draft) for draft, edit in real_pairs()}
    assert len(said) + len(imitated(made)) + sum(made.training_set.removed.values()) == 300
    assert len(said) > 140


def imitated(made: Made) -> list[str]:
    both = [*lines_of(made, "sft.train.jsonl"), *lines_of(made, "sft.validation.jsonl")]
    return [row["messages"][-1]["content"] for row in both]


def test_of_real_edits_the_edited_text_is_what_is_imitated(tmp_path: Path) -> None:
    texts = set(imitated(real_desk(tmp_path).export()))
    assert texts <= {edit for _, edit in real_pairs()}
    assert not texts & {draft for draft, _ in real_pairs()}
    assert len(texts) > 130


def test_the_files_of_real_edits_keep_to_the_documented_format(tmp_path: Path) -> None:
    made = real_desk(tmp_path).export()
    for kind in ("sft", "preference"):
        assert check_file((made.folder / f"{kind}.train.jsonl").read_bytes(), kind) == []
        assert check_file((made.folder / f"{kind}.validation.jsonl").read_bytes(), kind, min_examples=1) == []


@pytest.mark.parametrize("judged", [{"is_mature": False}, {"decision": "hold"}])
def test_edits_of_provisional_outputs_are_taken_only_when_asked_for(tmp_path: Path, judged: dict[str, Any]) -> None:
    desk = real_desk(tmp_path, **judged)
    assert desk.export().training_set.lines == ()
    assert {line.example.kind for line in desk.export(edits="any").training_set.lines} == {"preference"}


# -- files, card, table ----------------------------------------------------------------------------------------------
DRAFTS = {f"o{number}": f"Draft {chr(97 + number) * 30} {number * 37}." for number in range(12)}


def test_an_example_asks_with_the_baseline_prompt_and_the_brief(tmp_path: Path) -> None:
    made = ReviewedDesk(tmp_path, DRAFTS).export()
    for line in made.training_set.lines:
        system, user = line.prompt.messages
        assert system.content == "Write well."
        assert f"title: About {line.example.chosen.output_id}" in user.content


def test_the_card_holds_the_hashes_of_the_files(tmp_path: Path) -> None:
    made = ReviewedDesk(tmp_path, DRAFTS).export()
    card = (made.folder / "card.md").read_text(encoding="utf-8")
    names = ("sft.train.jsonl", "sft.validation.jsonl", "preference.train.jsonl", "preference.validation.jsonl")
    for name in names:
        assert hashlib.sha256((made.folder / name).read_bytes()).hexdigest() in card
    assert sorted(path.name for path in made.folder.iterdir()) == sorted([*names, "card.md"])


def test_making_the_set_again_gives_the_same_bytes(tmp_path: Path) -> None:
    desk = ReviewedDesk(tmp_path, DRAFTS)

    def make() -> dict[str, str]:
        make_training_sets(Flywheel(desk.spec), Recorder(desk.lake, NAME), [CYCLE], tmp_path / "training")
        examples = fingerprint(desk.lake.root / tables.TRAINING_EXAMPLES.name)
        return fingerprint(tmp_path / "training") | examples

    first = make()
    assert make() == first
    assert len(first) == 6


def test_the_table_has_a_row_for_each_line_and_its_hash(tmp_path: Path) -> None:
    desk = ReviewedDesk(tmp_path, DRAFTS)
    make_training_sets(Flywheel(desk.spec), Recorder(desk.lake, NAME), [CYCLE], tmp_path / "training")
    listed = desk.lake.read(tables.TRAINING_EXAMPLES, NAME, CYCLE).to_pylist()
    folder = tmp_path / "training" / NAME / str(CYCLE)
    hashes = {
        hashlib.sha256(line).hexdigest() for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()
    }
    assert {row["line_hash"] for row in listed} == hashes
    assert len(listed) == 12
    assert all(row["split"] == split_of(NAME, row["brief_id"], 0.1) for row in listed)


def test_personal_data_is_counted_and_stands_in_no_file(tmp_path: Path) -> None:
    made = ReviewedDesk(tmp_path, DRAFTS | {"o3": "Write to jane@example.com today."}).export()
    assert made.training_set.removed == {PERSONAL: 1}
    assert not any(b"jane@" in path.read_bytes() for path in made.folder.iterdir())


def test_an_output_that_a_later_close_demotes_leaves_the_set(tmp_path: Path) -> None:
    desk = ReviewedDesk(tmp_path, DRAFTS)
    assert len(desk.export().training_set.lines) == 12
    scored = desk.lake.read(tables.SCORED_OUTPUTS, NAME, CYCLE, columns=tables.SCORED_OUTPUTS.columns)
    demoted = [{**row, "decision": "hold" if row["output_id"] == "o1" else "promote"} for row in scored.to_pylist()]
    table = pa.Table.from_pylist(demoted, schema=tables.SCORED_OUTPUTS.schema)
    desk.lake.write(tables.SCORED_OUTPUTS, table, flywheel=NAME, cycle=CYCLE)
    assert "o1" not in {line.example.chosen.output_id for line in desk.export().training_set.lines}


def test_a_cycle_outside_the_lookback_gives_no_examples(tmp_path: Path) -> None:
    desk = ReviewedDesk(tmp_path, DRAFTS)
    desk.lake.write(tables.SCORED_OUTPUTS, tables.SCORED_OUTPUTS.empty(), flywheel=NAME, cycle=WEEKS[1])
    flywheel, folder = Flywheel(desk.spec), tmp_path / "training"
    for lookback, expected in ((2, 12), (1, 0)):
        made = export_training_set(flywheel, desk.lake, WEEKS[1], folder, TrainingSetsSpec(lookback=lookback))
        assert len(made.training_set.lines) == expected


def test_a_cycle_that_was_never_closed_is_refused(tmp_path: Path) -> None:
    desk = ReviewedDesk(tmp_path, DRAFTS)
    with pytest.raises(CycleOrderError, match="was never closed"):
        export_training_set(Flywheel(desk.spec), desk.lake, WEEKS[1], tmp_path / "training", TrainingSetsSpec())


# -- a flywheel that a model wrote, through Dagster ------------------------------------------------------------------
@pytest.fixture
def written(played: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    world = played.copy_to(tmp_path / "written")
    world.configure(training_sets={"validation": 0.2})
    return world


def test_the_section_in_the_yaml_makes_an_asset_of_the_close(written: WrittenWorld) -> None:
    cycle = written.lake.cycles(tables.SCORED_OUTPUTS, written.spec.name)[-1]
    assert written.run("close", cycle).success
    folder = written.paths.training / written.spec.name / str(cycle)
    first = fingerprint(folder)
    assert len(first) == 5
    proven = [
        row["output_id"]
        for row in written.rows(tables.SCORED_OUTPUTS)
        if row["decision"] == "promote" and row["is_mature"]
    ]
    said = {row["chosen_id"] for row in written.rows(tables.TRAINING_EXAMPLES, cycle)}
    assert said <= set(proven)
    assert written.run("close", cycle).success
    assert fingerprint(folder) == first


def test_as_asked_is_what_was_sent(written: WrittenWorld) -> None:
    name, cycle = written.spec.name, written.lake.cycles(tables.SCORED_OUTPUTS, written.spec.name)[-1]
    scored = written.lake.read(tables.SCORED_OUTPUTS, name, cycle, columns=tables.SCORED_OUTPUTS.columns)
    proven = [{**row, "decision": "promote", "is_mature": True} for row in scored.to_pylist()]
    table = pa.Table.from_pylist(proven, schema=tables.SCORED_OUTPUTS.schema)
    written.lake.write(tables.SCORED_OUTPUTS, table, flywheel=name, cycle=cycle)
    settings = TrainingSetsSpec(prompt="as_asked")
    made = export_training_set(written.flywheel, written.lake, cycle, written.root / "out", settings)
    requests = {row["request_key"]: row for row in written.rows(tables.LLM_REQUESTS)}
    outputs = {row["output_id"]: row for row in written.rows(tables.GENERATED_OUTPUTS)}
    assert made.training_set.lines
    for line in made.training_set.lines:
        request = requests[outputs[line.example.chosen.output_id]["request_key"]]
        said = [{"role": one.role, "content": one.content} for one in line.prompt.messages]
        assert said == json.loads(request["messages"])
        assert json.loads(line.example.chosen_answer) == json.loads(request["answer"])
