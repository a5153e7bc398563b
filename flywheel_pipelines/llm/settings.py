"""How requests are sent: limits, patience, form and money.

Here: values. Not here: where they come from in a flywheel's YAML (`spec.producers`), and what is done with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flywheel_pipelines.spec.producers import LlmProducer, PriceSpec

Form = Literal["json_schema", "json_object", "prompt"]
FORMS: tuple[Form, ...] = ("json_schema", "json_object", "prompt")
"""The ways to ask for an answer of a given shape, the strictest first."""


@dataclass(frozen=True)
class AskSettings:
    """How a cycle's requests are sent. Times are seconds, money is US dollars."""

    concurrency: int = 8
    timeout: float = 60
    """Seconds one try may take from first to last byte, however slowly these arrive."""
    structured_output: Literal["auto", "json_schema", "json_object", "prompt"] = "auto"
    prices: Mapping[str, PriceSpec] = field(default_factory=dict)
    max_cost: float | None = None
    """Most that the cycle may cost, over all its attempts."""
    max_tries: int = 8
    """Times a request is sent before an endpoint that is busy, broken or out of reach is given up."""
    max_reasks: int = 2
    """Times a request is sent again because its answer was not what was asked for."""
    first_wait: float = 0.5
    """Seconds before the first retry, at most; doubled each time."""
    max_wait: float = 60
    """Seconds before any retry, at most; an endpoint that asks for more is not waited for."""
    grace: float = 5
    """Seconds that requests under way are given when the run stops."""

    @classmethod
    def of_producer(cls, producer: LlmProducer) -> AskSettings:
        """What a flywheel's `producer` section says."""
        return cls(
            concurrency=producer.concurrency,
            timeout=producer.timeout,
            structured_output=producer.structured_output,
            prices=dict(producer.prices),
            max_cost=producer.max_cost_per_cycle,
        )
