"""The two flywheels that a model writes for: their YAML, schemas, prompts and sample briefs fit together."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.cycles import cycle_end
from flywheel_pipelines.feedback.feeds import FeedBatch, read_briefs, read_metrics
from flywheel_pipelines.lake.tables import BRIEF_LEDGER, REFERENCE_CORPUS
from flywheel_pipelines.learning.prompt import refresh_prompt
from flywheel_pipelines.llm.offline.prompt_reading import read_prompt
from flywheel_pipelines.paths import DEFS_DIR, PROJECT_ROOT
from flywheel_pipelines.prompt_text import BRIEF_SLOT, REFERENCES_SLOT
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.audience_export import write_export
from flywheel_pipelines.simulation.market import kind_of
from flywheel_pipelines.spec import FeedSpec, FlywheelSpec, LlmProducer, RateMetric, load_spec

SAMPLES = {"content": "content/keywords.csv", "outreach": "outreach/leads.csv"}
PER_CYCLE = {"content": 14, "outreach": 20}
NOW = datetime(2026, 1, 5, tzinfo=UTC)
NAMES = pytest.mark.parametrize("name", list(SAMPLES))


def spec_of(name: str) -> FlywheelSpec:
    return load_spec(DEFS_DIR / name / "defs.yaml")


def producer_of(name: str) -> LlmProducer:
    producer = spec_of(name).producer
    assert isinstance(producer, LlmProducer)
    return producer


def schema_of(name: str) -> dict[str, Any]:
    return json.loads((DEFS_DIR / name / str(producer_of(name).output)).read_text(encoding="utf-8"))


def feed_of(spec: FlywheelSpec, kind: str) -> FeedSpec:
    (feed,) = [feed for feed in spec.feeds.values() if feed.kind == kind]
    return feed


def samples_of(name: str) -> FeedBatch:
    spec = spec_of(name)
    path = PROJECT_ROOT / "data" / "samples" / SAMPLES[name]
    feed = spec.feeds[spec.briefs.feed]
    return read_briefs(path, feed, flywheel=name, cadence=spec.cadence, recorded_at=NOW)


def briefs_of(name: str) -> list[dict[str, Any]]:
    return samples_of(name).facts[BRIEF_LEDGER].to_pylist()


def measures_of(spec: FlywheelSpec) -> set[str]:
    rates = [metric for metric in spec.metrics.values() if isinstance(metric, RateMetric)]
    assert len(rates) == len(spec.metrics)
    return {measure for rate in rates for measure in (rate.successes, rate.exposure)}


# -- YAML, schema, prompt --------------------------------------------------------------------------------------------
@NAMES
def test_it_runs_on_simulated_measurements_and_says_so(name: str) -> None:
    assert spec_of(name).is_synthetic


@NAMES
def test_every_model_it_may_ask_has_a_price(name: str) -> None:
    assert {"gpt-5-mini", "offline-writer"} <= producer_of(name).prices.keys()


@NAMES
def test_every_object_of_the_schema_is_closed_and_requires_all_its_fields(name: str) -> None:
    """What strict structured output asks of a schema."""
    objects = list(_objects(schema_of(name)))
    assert objects
    for found in objects:
        assert found["additionalProperties"] is False
        assert sorted(found["required"]) == sorted(found["properties"])


def _objects(schema: Any) -> list[dict[str, Any]]:
    inner = [found for value in schema.values() if isinstance(value, dict) for found in _objects(value)]
    return [schema, *inner] if schema.get("type") == "object" else inner


@NAMES
def test_the_template_renders_with_and_without_references(name: str) -> None:
    spec = spec_of(name)
    template = (DEFS_DIR / name / str(spec.prompt.template)).read_text(encoding="utf-8")
    rendered = {}
    for n_references in (0, 2):
        corpus = pa.Table.from_pylist(
            [
                {
                    "reference_id": f"r{number}",
                    "segment": "one",
                    "text": f"Winner {number}",
                    "source_cycle": date(2026, 1, 5),
                    "quality": 0.5,
                    "p_above": 0.95,
                    "rank": number + 1,
                    "corpus_version": "v",
                }
                for number in range(n_references)
            ],
            schema=REFERENCE_CORPUS.schema,
        )
        (rendered[n_references],) = refresh_prompt(
            template, corpus, flywheel=name, metric=spec.floor.metric, guidelines=spec.prompt.guidelines
        ).to_pylist()
    assert BRIEF_SLOT in rendered[0]["frame"]
    assert "References" not in rendered[0]["text"]
    assert REFERENCES_SLOT in rendered[2]["frame"]
    assert "Winner 1" in rendered[2]["text"]
    for line in spec.prompt.guidelines:
        assert line in rendered[0]["text"]


@NAMES
def test_the_prompt_leaves_every_choice_to_the_writer(name: str) -> None:
    """Or both arms would write alike and nothing could be learned; with the control that an order is recognised."""
    spec = spec_of(name)
    template = (DEFS_DIR / name / str(spec.prompt.template)).read_text(encoding="utf-8")
    guidelines = spec.prompt.guidelines
    rendered = [
        refresh_prompt(template, REFERENCE_CORPUS.empty(), flywheel=name, metric=spec.floor.metric, guidelines=lines)
        for lines in (guidelines, [*guidelines, "Ask a question."])
    ]
    free, ordered = (read_prompt([{"role": "user", "content": one["text"][0].as_py()}]).orders for one in rendered)
    assert (free.choices, free.phrases, free.verbatim, free.language) == ((), (), None, None)
    assert ordered.choices == (("is_question", "yes"),)


# -- sample briefs ---------------------------------------------------------------------------------------------------
@NAMES
def test_every_sample_brief_can_be_used(name: str) -> None:
    batch = samples_of(name)
    assert batch.problems == ()
    assert len(batch.cycles) == 30
    assert batch.cycles[0] == spec_of(name).start
    ids = [brief["brief_id"] for brief in briefs_of(name)]
    assert len(ids) == len(set(ids))


@NAMES
def test_every_cycle_has_briefs_of_every_segment(name: str) -> None:
    by_cycle: dict[date, Counter[str]] = {}
    for brief in briefs_of(name):
        by_cycle.setdefault(brief["cycle"], Counter())[brief["segment"]] += 1
    assert {counts.total() for counts in by_cycle.values()} == {PER_CYCLE[name]}
    assert {len(counts) for counts in by_cycle.values()} == {5}


@NAMES
def test_most_briefs_give_a_figure_some_a_link_and_a_few_are_not_english(name: str) -> None:
    briefs = briefs_of(name)
    fields = [json.loads(brief["fields"]) for brief in briefs]
    facts = [field.get("facts") or field["product_facts"] for field in fields]
    assert 0.7 < sum(any(character.isdigit() for character in fact) for fact in facts) / len(facts) < 0.95
    assert 0.2 < sum("link" in field for field in fields) / len(fields) < 0.6
    locales = Counter(brief["locale"] for brief in briefs)
    assert locales["en"] / locales.total() > 0.7
    assert locales["de"] > 20 < locales["es"]


@NAMES
def test_no_sample_brief_names_an_address_or_leads_anywhere(name: str) -> None:
    text = (PROJECT_ROOT / "data" / "samples" / SAMPLES[name]).read_text(encoding="utf-8")
    assert "@" not in text
    assert set(re.findall(r"https?://([^/\s,]+)", text)) == {"example.com"}


# -- measurements ----------------------------------------------------------------------------------------------------
@NAMES
def test_its_feed_reads_what_the_simulated_audience_reports(tmp_path: Path, name: str) -> None:
    spec = spec_of(name)
    kind = kind_of(measures_of(spec))
    assert set(kind.measures) == measures_of(spec)
    people, feed = Audience(kind), feed_of(spec, "metrics")
    outputs = [
        {"output_id": f"output{number}", "brief_id": brief["brief_id"], "segment": brief["segment"], "text": "Hello."}
        for number, brief in enumerate(briefs_of(name)[: PER_CYCLE[name]])
    ]
    people.publish_seen(spec.start, outputs)
    n_rows = 0
    for week in range(7):
        cycle = spec.start + timedelta(weeks=week)
        export = people.export(cycle)
        if write_export(tmp_path / "simulated.csv", export, feed.columns):
            batch = read_metrics(
                tmp_path / "simulated.csv",
                feed,
                measures=kind.measures,
                outputs={str(output["output_id"]): spec.start for output in outputs},
                recorded_at=cycle_end(cycle, spec.cadence),
                metrics=list(spec.metrics.values()),
            )
            assert batch.n_quarantined == len(export.broken)
            n_rows += batch.n_rows
    assert n_rows > 5 * PER_CYCLE[name]
