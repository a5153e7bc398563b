"""The audience of a flywheel: the one that its folder declares, or the built-in one that its measures ask for.

Here: from an `AudienceSpec` and a grammar to a kind of audience. Not here: the keys of those files (`spec.audience`,
`spec.grammar`), the built-in kinds (`market`), or what people do (`audience`).
"""

from __future__ import annotations

from dataclasses import replace

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.feedback.landing import measures_of
from flywheel_pipelines.llm.offline.declared import declared_grammar
from flywheel_pipelines.loop.flywheel import AUDIENCE, Flywheel
from flywheel_pipelines.simulation.market import (
    EVERY_DAY,
    WORKING_DAYS,
    Amount,
    AudienceKind,
    MarketSettings,
    Response,
    Traffic,
    kind_of,
)
from flywheel_pipelines.spec.audience import AmountSpec, AudienceSpec, ResponseSpec, TrafficSpec

NAMED_DAYS = {"every_day": EVERY_DAY, "working_days": WORKING_DAYS}


def audience_of(flywheel: Flywheel) -> AudienceKind:
    """The kind of audience before which a flywheel is simulated; it reads by the flywheel's own grammar, if it has one.

    Raises:
        FlywheelError: its files cannot be used, do not report a measure that a metric reads, or there are none and no
            built-in kind fits.
    """
    declared, grammar = flywheel.audience(), flywheel.grammar()
    kind = kind_of(measures_of(flywheel.spec)) if declared is None else _kind(flywheel, declared)
    if grammar is None:
        return kind
    reader = declared_grammar(grammar)
    return replace(kind, choices=reader.choices, read=reader.read)


def _kind(flywheel: Flywheel, spec: AudienceSpec) -> AudienceKind:
    derived = {feed.sessions.ignored for feed in flywheel.spec.feeds.values() if feed.sessions}
    if missing := sorted(set(measures_of(flywheel.spec)) - set(spec.measures) - derived):
        raise SpecError(
            f"{flywheel.folder / AUDIENCE}: nobody reports {', '.join(missing)}, which metrics of {flywheel.name} "
            f"read; there are {', '.join(spec.measures)}. Add a traffic or a response with that measure."
        )
    sizes = {name: value for name, value in spec.effects if value is not None}
    return AudienceKind(flywheel.name, tuple(map(_traffic, spec.traffic)), replace(MarketSettings(), **sizes))


def _traffic(spec: TrafficSpec) -> Traffic:
    return Traffic(
        measure=spec.measure,
        typical=spec.typical,
        spread=spec.spread,
        shape=spec.shape,
        days=NAMED_DAYS[spec.days] if isinstance(spec.days, str) else tuple(spec.days),
        has_bots=spec.has_bots,
        responses=tuple(map(_response, spec.responses)),
        amounts=tuple(map(_amount, spec.amounts)),
    )


def _amount(spec: AmountSpec) -> Amount:
    between = None if spec.between is None else (spec.between[0], spec.between[1])
    return Amount(spec.measure, spec.typical, spec.appeal, spec.spread, between)


def _response(spec: ResponseSpec) -> Response:
    return Response(**{**dict(spec), "late": tuple(spec.late), "amounts": tuple(map(_amount, spec.amounts))})
