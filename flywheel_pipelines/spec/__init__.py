"""The YAML contract of a flywheel: the one place where configuration is read and refused.

Here: the pydantic models behind `defs/<name>/defs.yaml`, by section, and `load_spec`. Not here: what a setting does; no
other module checks configuration again.
"""

from flywheel_pipelines.spec.corpus import CollapseSpec, CorpusSpec
from flywheel_pipelines.spec.explaining import explain_keys
from flywheel_pipelines.spec.feeds import REVIEW_MEASURES, DltSource, FeedSpec, SqlSource
from flywheel_pipelines.spec.flywheel import COMPONENT_TYPE, FlywheelSpec
from flywheel_pipelines.spec.metrics import (
    CountMetric,
    DurationMetric,
    MeanMetric,
    Metric,
    RateMetric,
    TopKMetric,
)
from flywheel_pipelines.spec.producers import (
    ArchiveProducer,
    GuardrailsSpec,
    LlmProducer,
    PriceSpec,
)
from flywheel_pipelines.spec.prompts import OptimiserSpec, PromptSpec
from flywheel_pipelines.spec.reading import load_spec, parse_spec
from flywheel_pipelines.spec.rules import ArmsSpec, FloorSpec
from flywheel_pipelines.spec.scoring_model import Embeddings, ScoringModelSpec
from flywheel_pipelines.spec.section import NAME_PATTERN
from flywheel_pipelines.spec.training_sets import TrainingSetsSpec

__all__ = [
    "COMPONENT_TYPE",
    "NAME_PATTERN",
    "REVIEW_MEASURES",
    "ArchiveProducer",
    "ArmsSpec",
    "CollapseSpec",
    "CorpusSpec",
    "CountMetric",
    "DltSource",
    "DurationMetric",
    "Embeddings",
    "FeedSpec",
    "FloorSpec",
    "FlywheelSpec",
    "GuardrailsSpec",
    "LlmProducer",
    "MeanMetric",
    "Metric",
    "OptimiserSpec",
    "PriceSpec",
    "PromptSpec",
    "RateMetric",
    "ScoringModelSpec",
    "SqlSource",
    "TopKMetric",
    "TrainingSetsSpec",
    "explain_keys",
    "load_spec",
    "parse_spec",
]
