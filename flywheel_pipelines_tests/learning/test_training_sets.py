"""Training sets: what is removed, and that nothing leaks from one split into the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.chat import Message
from flywheel_pipelines.learning.near_duplicates import NearDuplicateIndex
from flywheel_pipelines.learning.training_card import Origin, data_card
from flywheel_pipelines.learning.training_pairs import Candidate, choose_examples
from flywheel_pipelines.learning.training_sets import (
    ALIKE,
    LEAKS,
    NEAR_DUPLICATE,
    NO_PROMPT,
    PERSONAL,
    SAME_BRIEF,
    Prompt,
    TrainingSet,
    build_training_set,
    split_of,
)
from flywheel_pipelines.llm.training_files import check_file
from flywheel_pipelines.similarity import text_similarity
from flywheel_pipelines.spec import TrainingSetsSpec
from flywheel_pipelines_tests.learning.training_samples import (
    CYCLE,
    FLYWHEEL,
    candidate,
    edited,
    imitated,
    loser,
    made_of,
    pairs,
    text_of,
)

HALF = 0.49
ORIGIN = Origin(FLYWHEEL, CYCLE, CYCLE, "reply_rate", {"floor-1": "{}"}, True)


def briefs_in(split: str, n: int, validation: float = HALF) -> list[str]:
    """Names of briefs that fall into a split."""
    names = (f"b{number}" for number in range(10_000))
    return [name for name in names if split_of(FLYWHEEL, name, validation) == split][:n]


def texts_in(made: TrainingSet, split: str) -> list[str]:
    return [
        text
        for line in made.lines
        if line.split == split
        for text in (line.example.chosen_text, line.example.rejected_text)
        if text is not None
    ]


# -- the split -------------------------------------------------------------------------------------------------------
def test_the_share_of_briefs_for_validation_is_as_asked() -> None:
    sides = [split_of(FLYWHEEL, f"b{number}", 0.1) for number in range(5_000)]
    assert 0.085 < sides.count("validation") / 5_000 < 0.115


@given(st.text(), st.floats(0.01, 0.49), st.floats(0.01, 0.49))
def test_a_larger_share_takes_no_brief_out_of_validation(brief: str, first: float, second: float) -> None:
    low, high = sorted((first, second))
    if split_of(FLYWHEEL, brief, low) == "validation":
        assert split_of(FLYWHEEL, brief, high) == "validation"


SOME_TEXTS = st.lists(st.sampled_from([text_of(n) for n in range(8)]), min_size=1, max_size=2).map(" ".join)
OUTPUTS = st.lists(
    st.tuples(st.integers(0, 11), SOME_TEXTS, st.sampled_from(["won", "lost", "edited"]), SOME_TEXTS),
    min_size=4,
    max_size=24,
)


def outputs_from(drawn: list[tuple[int, str, str, str]]) -> list[Candidate]:
    made = []
    for number, (brief, text, what, other) in enumerate(drawn):
        name, of_brief = f"o{number}", f"b{brief}"
        if what == "edited":
            made.append(edited(name, other, of_brief, text=text))
        else:
            made.append((candidate if what == "won" else loser)(name, of_brief, text=text))
    return made


@settings(max_examples=150, deadline=None)
@given(OUTPUTS)
def test_no_brief_and_no_near_duplicate_is_on_both_sides(drawn: list[tuple[int, str, str, str]]) -> None:
    made = made_of(*outputs_from(drawn), validation=HALF)
    sides: dict[str, set[str]] = {"train": set(), "validation": set()}
    for line in made.lines:
        sides[line.split].add(line.example.chosen.brief_id)
    assert sides["train"] & sides["validation"] == set()
    learned, tested = texts_in(made, "train"), texts_in(made, "validation")
    assert all(text_similarity(first, second) < 0.85 for first in learned for second in tested)


def test_control_without_the_check_a_near_duplicate_would_be_on_both_sides() -> None:
    [trained], [tested] = briefs_in("train", 1), briefs_in("validation", 1)
    lost = loser("lost", trained, text=text_of(1))
    made = made_of(
        candidate("won", trained, text=text_of(2)), lost, candidate("twin", tested, text=text_of(1)), validation=HALF
    )
    assert made.removed[LEAKS] == 1
    assert imitated(made) == {"won"}


def test_briefs_that_ask_the_same_are_not_on_both_sides() -> None:
    [trained], [tested] = briefs_in("train", 1), briefs_in("validation", 1)
    outputs = [candidate("one", trained, text=text_of(1)), candidate("two", tested, text=text_of(2))]
    spec = TrainingSetsSpec(validation=HALF)
    examples, _ = choose_examples(outputs, spec, "higher")
    same = Prompt((Message("user", "Write about rotas."),), "p")
    made = build_training_set(examples, {"one": same, "two": same}, spec, flywheel=FLYWHEEL)
    assert made.removed == {SAME_BRIEF: 1}
    assert imitated(made) == {"one"}


# -- what is removed -------------------------------------------------------------------------------------------------
def test_of_near_duplicates_the_best_stays() -> None:
    text = text_of(3)
    made = made_of(
        candidate("good", "b1", text=text, posterior_mean=0.05),
        candidate("best", "b2", text=text + "!", posterior_mean=0.06),
    )
    assert imitated(made) == {"best"}
    assert made.removed == {NEAR_DUPLICATE: 1}


def test_a_pair_of_two_texts_that_are_nearly_one_teaches_nothing() -> None:
    made = made_of(candidate("won", text=text_of(1)), loser("lost", text=text_of(1) + "."))
    assert pairs(made) == set()
    assert made.removed == {ALIKE: 1}


def test_a_small_edit_is_a_lesson_all_the_same() -> None:
    assert pairs(made_of(edited("won", text_of(1) + ".", text=text_of(1)))) == {("edit", "won", "won")}


@pytest.mark.parametrize(
    "personal", ["Write to jane@example.com.", "Call +49 30 901820.", "IBAN DE89 3704 0044 0532 0130 00"]
)
def test_an_example_with_personal_data_is_left_out_and_nothing_of_it_is_kept(personal: str) -> None:
    made = made_of(candidate("won", text=f"{text_of(1)} {personal}"), candidate("fine", "b2", text=text_of(2)))
    assert imitated(made) == {"fine"}
    assert made.removed == {PERSONAL: 1}
    assert personal not in data_card(made, ORIGIN, TrainingSetsSpec()) + "".join(line.text for line in made.lines)


def test_personal_data_in_the_brief_counts_as_well() -> None:
    spec = TrainingSetsSpec()
    examples, _ = choose_examples([candidate("won")], spec, "higher")
    prompt = Prompt((Message("user", "For jane@example.com"),), "p")
    made = build_training_set(examples, {"won": prompt}, spec, flywheel=FLYWHEEL)
    assert made.removed == {PERSONAL: 1}


def test_masking_keeps_the_example_and_answers_stay_json() -> None:
    answer = json.dumps({"subject": "Hello", "body": "Write to jane@example.com."})
    made = made_of(candidate("won", text="Hello\n\nWrite to jane@example.com.", answer=answer), personal_data="mask")
    [line] = made.lines
    said = json.loads(json.loads(line.text)["messages"][-1]["content"])
    assert said == {"subject": "Hello", "body": "Write to [e-mail address]."}
    assert made.n_masked == 1


def test_an_example_whose_prompt_is_not_known_is_counted() -> None:
    spec = TrainingSetsSpec()
    examples, _ = choose_examples([candidate("won")], spec, "higher")
    assert build_training_set(examples, {}, spec, flywheel=FLYWHEEL).removed == {NO_PROMPT: 1}


# -- files and card --------------------------------------------------------------------------------------------------
def many() -> list[Candidate]:
    outputs: list[Candidate] = []
    for number in range(40):
        outputs.append(candidate(f"w{number}", f"b{number}", text=text_of(2 * number)))
        outputs.append(loser(f"l{number}", f"b{number}", text=text_of(2 * number + 1)))
    return outputs


def test_the_files_keep_to_the_documented_format() -> None:
    made = made_of(*many(), validation=0.3)
    for kind in ("sft", "preference"):
        assert made.of(kind, "validation")
        assert check_file(made.file_bytes(kind, "train"), kind) == []
        assert check_file(made.file_bytes(kind, "validation"), kind, min_examples=1) == []


def test_a_row_says_which_line_of_which_file_it_is() -> None:
    made = made_of(*many(), validation=0.3)
    for row in made.rows().to_pylist():
        line = made.file_bytes(row["kind"], row["split"]).decode().split("\n")[row["line"] - 1]
        said = json.loads(line)
        asked = said["messages"] if row["kind"] == "sft" else said["input"]["messages"]
        assert asked[1]["content"] == f"brief {row['brief_id']}"


def test_the_card_says_what_is_simulated_and_counts_every_line() -> None:
    made = made_of(*many(), license="internal use")
    card = data_card(made, ORIGIN, TrainingSetsSpec(license="internal use"))
    assert "Simulated" in card
    assert "license: internal use" in card
    assert f"| `sft.train.jsonl` | {len(made.of('sft', 'train'))} |" in card
    assert "Simulated" not in data_card(made, Origin(FLYWHEEL, CYCLE, CYCLE, "m", {}, False), TrainingSetsSpec())


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_in_which_outputs_are_read_plays_no_part(order: int) -> None:
    made, turned = made_of(*many()), made_of(*many()[::order])
    assert [line.text for line in made.lines] == [line.text for line in turned.lines]


def test_the_same_in_every_process() -> None:
    code = (
        "import hashlib\n"
        "from flywheel_pipelines_tests.learning import test_training_sets as t\n"
        "made = t.made_of(*t.many(), validation=0.3)\n"
        "print(hashlib.sha256(repr([l.text for l in made.lines] + [made.removed]).encode()).hexdigest())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            text=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1


# -- the index -------------------------------------------------------------------------------------------------------
@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("ab c", max_size=14), min_size=1, max_size=12), st.text("ab c", max_size=14), st.floats(0.5, 1))
def test_the_index_finds_what_comparing_with_each_text_finds(texts: list[str], asked: str, threshold: float) -> None:
    index = NearDuplicateIndex(threshold, texts)
    for number, text in enumerate(texts):
        index.add(str(number), text)
    slow = {str(number) for number, text in enumerate(texts) if text_similarity(asked, text) >= threshold}
    assert index.find(asked) == slow
