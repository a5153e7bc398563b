"""The YAML contract of a flywheel: the one place where configuration is read and refused.

Here: the pydantic models behind `defs/<name>/defs.yaml`, by section, and `load_spec`. Not here: what a setting does; no
other module checks configuration again.
"""

from flywheel_pipelines.spec.audience import AudienceSpec
from flywheel_pipelines.spec.constraints import ConstraintsSpec, GoalSpec
from flywheel_pipelines.spec.corpus import CollapseSpec, CorpusSpec
from flywheel_pipelines.spec.explaining import explain_keys
from flywheel_pipelines.spec.feeds import (
    REVIEW_MEASURES,
    DltSource,
    DocumentsSpec,
    FeedSpec,
    SessionsSpec,
    SqlSource,
)
from flywheel_pipelines.spec.flywheel import COMPONENT_TYPE, FlywheelSpec
from flywheel_pipelines.spec.grammar import GrammarSpec
from flywheel_pipelines.spec.insight import INSIGHT_COMPONENT_TYPE, InsightSpec
from flywheel_pipelines.spec.metrics import (
    Better,
    CountMetric,
    DurationMetric,
    MeanMetric,
    Metric,
    RateMetric,
    TopKMetric,
)
from flywheel_pipelines.spec.producers import (
    ArchiveProducer,
    CitationsSpec,
    ConfidenceSpec,
    GuardrailsSpec,
    LlmProducer,
    PriceSpec,
    ScoringProducer,
)
from flywheel_pipelines.spec.prompts import OptimiserSpec, PromptSpec
from flywheel_pipelines.spec.reading import (
    AnySpec,
    component_of,
    load_any,
    load_insight,
    load_section,
    load_spec,
    parse_spec,
)
from flywheel_pipelines.spec.rules import ABLATIONS, Ablation, ArmsSpec, FloorSpec
from flywheel_pipelines.spec.schedule import ScheduleSpec
from flywheel_pipelines.spec.scoring_model import Embeddings, ScoringModelSpec
from flywheel_pipelines.spec.section import NAME_PATTERN
from flywheel_pipelines.spec.training_sets import TrainingSetsSpec

__all__ = [
    "ABLATIONS",
    "COMPONENT_TYPE",
    "INSIGHT_COMPONENT_TYPE",
    "NAME_PATTERN",
    "REVIEW_MEASURES",
    "Ablation",
    "AnySpec",
    "ArchiveProducer",
    "ArmsSpec",
    "AudienceSpec",
    "Better",
    "CitationsSpec",
    "CollapseSpec",
    "ConfidenceSpec",
    "ConstraintsSpec",
    "CorpusSpec",
    "CountMetric",
    "DltSource",
    "DocumentsSpec",
    "DurationMetric",
    "Embeddings",
    "FeedSpec",
    "FloorSpec",
    "FlywheelSpec",
    "GoalSpec",
    "GrammarSpec",
    "GuardrailsSpec",
    "InsightSpec",
    "LlmProducer",
    "MeanMetric",
    "Metric",
    "OptimiserSpec",
    "PriceSpec",
    "PromptSpec",
    "RateMetric",
    "ScheduleSpec",
    "ScoringModelSpec",
    "ScoringProducer",
    "SessionsSpec",
    "SqlSource",
    "TopKMetric",
    "TrainingSetsSpec",
    "component_of",
    "explain_keys",
    "load_any",
    "load_insight",
    "load_section",
    "load_spec",
    "parse_spec",
]
