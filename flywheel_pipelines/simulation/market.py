"""The settings of the simulated market: every number behind the simulated audience, each with its reason.

Here: sizes of effects, kinds of audience, and which kind a flywheel's measures ask for. Not here: what the audience
prefers (`market_preferences`) and what it does (`audience`). Nothing measured here says anything about people.

The log of an output's true rate is, for the measure that follows liking one to one,

    base + segment + season + brief + choices . preference(segment, cycle) + taste

of which only the choices can be learned. Rates are bent by a logit, so that none passes 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.simulation.leads import TRAITS, read_traits

World = Literal["lively", "flat"]
SOURCE = "simulated"


@dataclass(frozen=True)
class MarketSettings:
    """What the simulated world is like. Standard deviations are of the log rate unless said otherwise."""

    learnable: float = 0.45
    """Explained by the text's choices, within a segment, when choices are drawn at random. Subject lines tested against
    each other commonly differ by a half; with this a text one standard deviation better has 57% more replies."""
    segment_own: float = 0.6
    """How much of the preferences is each segment's own, as a share of their standard deviation. Winners of one segment
    help another a little, so that references of the own segment are worth more."""
    drift_share: float = 0.45
    """Share of the preferences' standard deviation that moves. The rest stays, or nothing learned would keep."""
    drift_period: tuple[float, float] = (50.0, 150.0)
    """Weeks that a moving preference takes to come round, drawn per preference: after half a year preferences
    correlate by about 0.8 with what they were, slow enough to learn from last quarter, too fast to learn but once."""
    taste: float = 0.2
    """What belongs to the single output and to no choice in it; it makes winners by luck."""
    brief_effect: float = 0.25
    """What belongs to the brief: some keywords and leads are easier. Arms have different briefs, so it is noise."""
    segment_effect: float = 0.15
    """Between segments, for good."""
    season_rate: float = 0.1
    """Amplitude of the yearly swing of log rates; each segment peaks at its own time of the year."""
    season_traffic: float = 0.2
    """Amplitude of the yearly swing of log traffic."""
    bot_outputs: float = 0.1
    """Share of outputs that bots visit. They inflate the first reports until they are filtered out."""
    bot_share: tuple[float, float] = (0.05, 0.2)
    """Their traffic, as a share of what people cause on the same day."""
    bots_found_after: int = 3
    """Fewest cycles until the filter takes their counts back: later than any measurement window in use."""
    filter_every: int = 9
    """Cycles between two runs of the filter, which then corrects everything old enough at once. Every correction
    closes the cycles since then again, so a filter that ran weekly would double the work of a season."""
    broken_rows: float = 0.01
    """Share of new rows that arrive damaged; the row comes again, in order, with the next export."""


@dataclass(frozen=True)
class Amount:
    """Something that is measured of every trial and added up."""

    measure: str
    typical: float
    """Median per trial, of a text that is liked as much as the average one."""
    appeal: float
    """Change of its log per unit of liking."""
    spread: float
    """Standard deviation of its log between trials."""
    between: tuple[float, float] | None = None
    """Lowest and highest whole number that it can be; None: any amount."""


@dataclass(frozen=True)
class Response:
    """Something that people do with an output, counted as a measure."""

    measure: str
    base_rate: float
    """Rate at which a text that is liked as much as the average one is answered."""
    appeal: float
    """Change of the log rate per unit of liking: 1 follows it, a negative one is what people do out of dislike."""
    concentration: float
    """Of the beta distribution that one output's rate is drawn from around its expectation: hours, places and
    neighbours make counts vary more than a coin would. With n trials the variance is 1 + (n - 1) / (concentration + 1)
    times the binomial one (Skellam 1948)."""
    late: tuple[float, ...] = ()
    """Shares that are reported one, two, ... cycles after the day they belong to."""
    bots: float = 0.0
    """Probability that a bot does it."""
    amounts: tuple[Amount, ...] = ()
    """What is measured each time that people do it; not where some of it is late."""


@dataclass(frozen=True)
class Traffic:
    """Trials of an output, and what people do in them."""

    measure: str
    typical: float
    """Median per output and cycle."""
    spread: float
    """Standard deviation of its log between outputs."""
    shape: float
    """Shape of the negative binomial around the expectation; lower is more over-dispersed."""
    days: tuple[float, ...]
    """Relative traffic from Monday to Sunday."""
    has_bots: bool
    responses: tuple[Response, ...]
    amounts: tuple[Amount, ...] = ()


@dataclass(frozen=True)
class AudienceKind:
    """A kind of audience: what is counted, and how much of it there is."""

    name: str
    traffic: tuple[Traffic, ...]
    settings: MarketSettings = field(default_factory=MarketSettings)
    """Sizes of effects, where nobody asks for others."""
    choices: Mapping[str, Sequence[str]] | None = None
    """The options that a text may have; None: those of the offline writer's grammar."""
    read: Callable[[str], Mapping[str, str]] | None = None
    """Which of them a text has; None: the reader of that grammar."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Every measure it reports: each exposure, its responses, its amounts, and those of its responses."""
        return tuple(
            measure
            for traffic in self.traffic
            for measure in (
                traffic.measure,
                *(one.measure for one in (*traffic.responses, *traffic.amounts)),
                *(one.measure for response in traffic.responses for one in response.amounts),
            )
        )

    def response(self, measure: str) -> Response:
        """The response that is counted as `measure`. Raises FlywheelError when it is none of this kind's."""
        found = {response.measure: response for traffic in self.traffic for response in traffic.responses}
        if measure not in found:
            raise FlywheelError(f"{measure!r} is nothing that a {self.name} audience does: {', '.join(found)}.")
        return found[measure]


WORKING_DAYS = (1.0, 1.1, 1.1, 1.0, 0.8, 0.0, 0.0)
"""Mails to businesses go out from Monday to Friday, and fewer on Fridays."""
EVERY_DAY = (1.1, 1.1, 1.1, 1.0, 0.9, 0.8, 0.9)
"""People search every day, at weekends a little less."""
CHECKED_DAILY = (1.0,) * 7
"""Positions are checked by a machine."""

RECIPIENTS = AudienceKind(
    name="outreach",
    traffic=(
        Traffic(
            # 150 to 400 sends for nine outputs in ten: lists of a small team differ in length (spread) and lose
            # a few addresses (shape).
            measure="sends",
            typical=250,
            spread=0.22,
            shape=60,
            days=WORKING_DAYS,
            has_bots=True,
            responses=(
                # Cold mail is answered by 1 to 8 in 100, by 4 on average (the base is the median). A quarter of the
                # answers comes after the week is over. At 250 sends the variance is 1.3 times the binomial one.
                Response("replies", base_rate=0.036, appeal=1.0, concentration=800, late=(0.25,)),
                # About a third is opened, as the subject decides, which is a part of the text; by whole mailboxes,
                # some of which load pictures by themselves (variance 3 times the binomial one). Scanners open all.
                Response("opens", base_rate=0.35, appeal=0.4, concentration=120, late=(0.08,), bots=0.9),
                # Who dislikes a mail leaves the list, about one in 200.
                Response("unsubscribes", base_rate=0.005, appeal=-0.6, concentration=800, late=(0.15,)),
            ),
        ),
    ),
)
READERS = AudienceKind(
    name="content",
    traffic=(
        Traffic(
            # A keyword is checked daily in about 14 places (markets by devices): some 98 checks a week. A machine
            # does it, so there is little spread; a check that fails is missing.
            measure="keyword_days",
            typical=98,
            spread=0.08,
            shape=400,
            days=CHECKED_DAILY,
            has_bots=False,
            responses=(
                # One article in four of a young site ranks (the base is the median). Checks of one keyword resemble
                # each other: 100 of them tell as much as 60 independent ones would.
                Response("top10_days", base_rate=0.22, appeal=1.0, concentration=150),
            ),
        ),
        Traffic(
            # Keywords differ widely in how often they are searched, and a week in the news doubles it.
            measure="impressions",
            typical=900,
            spread=0.6,
            shape=12,
            days=EVERY_DAY,
            has_bots=True,
            responses=(
                # Three in 100 click, by the title more than by the text, hence half the appeal. Search engines report
                # clicks days late, and take those of bots back much later.
                Response("clicks", base_rate=0.03, appeal=0.5, concentration=600, late=(0.15,), bots=0.6),
            ),
        ),
    ),
)
BUYERS = AudienceKind(
    name="leads",
    traffic=(
        Traffic(
            # A lead is handled once: a trial too few is made one, so this is one for every lead.
            measure="leads_handled",
            typical=1e-9,
            spread=0,
            shape=1,
            days=WORKING_DAYS,
            has_bots=False,
            responses=(
                # One enquiry in five becomes a customer, half of them in the weeks after.
                Response("conversions", base_rate=0.2, appeal=1.0, concentration=1e6, late=(0.3, 0.2)),
            ),
        ),
    ),
    # What is known of a lead tells far more than the wording of a letter does: one standard
    # deviation doubles the rate. A lead's own taste cannot be told from chance where it buys once or not at all.
    settings=MarketSettings(learnable=0.8, taste=0.0),
    choices=TRAITS,
    read=read_traits,
)
KINDS = (READERS, RECIPIENTS, BUYERS)


def kind_of(measures: Iterable[str]) -> AudienceKind:
    """The kind of audience that reports all of these measures.

    Raises:
        FlywheelError: no kind does, so there is nothing to simulate.
    """
    wanted = set(measures)
    for kind in KINDS:
        if wanted <= set(kind.measures):
            return kind
    offered = "; ".join(f"{kind.name}: {', '.join(kind.measures)}" for kind in KINDS)
    raise FlywheelError(
        f"No simulated audience reports {', '.join(sorted(wanted))}. There are {offered}. "
        "Name the measures of the flywheel's metrics after one of them, or feed it with measurements of your own."
    )
