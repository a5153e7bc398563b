"""The YAML contract of a flywheel: the one place where configuration is read and refused.

Here: the pydantic models behind `defs/<name>/defs.yaml`, by section, and `load_spec`. Not here: what a setting does; no
other module checks configuration again.
"""

from flywheel_pipelines.spec.explaining import explain_keys
from flywheel_pipelines.spec.feeds import REVIEW_MEASURES, DltSource, FeedSpec, SqlSource
from flywheel_pipelines.spec.flywheel import COMPONENT_TYPE, FlywheelSpec
from flywheel_pipelines.spec.producers import (
    ArchiveProducer,
    GuardrailsSpec,
    LlmProducer,
    PriceSpec,
)
from flywheel_pipelines.spec.prompts import OptimiserSpec, PromptSpec
from flywheel_pipelines.spec.reading import load_spec, parse_spec
from flywheel_pipelines.spec.rules import ArmsSpec, CorpusSpec, FloorSpec, RateMetric
from flywheel_pipelines.spec.section import NAME_PATTERN

__all__ = [
    "COMPONENT_TYPE",
    "NAME_PATTERN",
    "REVIEW_MEASURES",
    "ArchiveProducer",
    "ArmsSpec",
    "CorpusSpec",
    "DltSource",
    "FeedSpec",
    "FloorSpec",
    "FlywheelSpec",
    "GuardrailsSpec",
    "LlmProducer",
    "OptimiserSpec",
    "PriceSpec",
    "PromptSpec",
    "RateMetric",
    "SqlSource",
    "explain_keys",
    "load_spec",
    "parse_spec",
]
