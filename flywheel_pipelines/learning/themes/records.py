"""What there is about themes: tickets, themes, what people ruled, where tickets were put, and the turn of a cycle.

Here: data alone. Not here: how a turn comes about (`library`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

Status = Literal["candidate", "accepted", "rejected", "merged"]
How = Literal["library", "group", "unknown"]
EXAMPLES, NEW_EXAMPLES = 40, 16
"""Reference tickets that a theme has, and how many of a cycle take the place of older ones, to follow drift."""


@dataclass(frozen=True)
class Ticket:
    """What a customer wrote, without personal data. `recorded` orders tickets by when they came in."""

    ticket_id: str
    text: str
    day: date
    cycle: date
    recorded: str = ""
    segment: str = "all"


@dataclass(frozen=True)
class Example:
    """A ticket that a theme is recognised by."""

    ticket_id: str
    text: str


@dataclass(frozen=True)
class Theme:
    """One theme as a cycle leaves it."""

    theme_id: str
    founded: date
    status: Status
    name: str
    summary: str
    examples: tuple[Example, ...]
    coherence: float
    n_tickets: int
    merged_into: str | None = None
    parent_id: str | None = None
    """The accepted theme that most of its founding tickets were nearest to, with more than nothing in common."""
    last_seen: date | None = None


@dataclass(frozen=True)
class Ruling:
    """What a person decided about a theme: accepted or rejected, renamed with `name`, merged into `into`."""

    theme_id: str
    decision: Literal["accepted", "rejected"]
    name: str | None = None
    into: str | None = None
    similarity: float = 1.0
    """How much of the machine's words is left, 0 to 1."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a theme's identity: founded, accepted, renamed, merged, split, rejected, drifted."""

    event: str
    theme_id: str
    other_id: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class ThemeSettings:
    """How themes are made; every level is a cosine or a probability."""

    confidence: float = 0.5
    min_tickets: int = 6
    min_coherence: float = 0.22
    same: float = 0.45
    """Cosine of two centres from which a group continues a theme instead of founding one."""
    alike: float = 0.5
    """Cosine of two accepted themes from which a merge is suggested."""
    between: float = 0.6
    """A ticket that is this near to a second theme, as a share of how near it is to the first, is between the two."""
    min_similarity: float = 0.0
    """Quality floor: of an accepted theme, how much of the machine's words people left as they were."""
    optional_review: bool = False
    """Whether candidates above the floor are references before anybody looked at them."""


@dataclass(frozen=True)
class Placed:
    """Where one ticket was put; `theme_id` None is "unknown", which is an answer like another."""

    ticket: Ticket
    theme_id: str | None
    how: How
    probability: float
    nearest_id: str | None = None


@dataclass(frozen=True)
class Found:
    """A new group, which founds a theme."""

    theme: Theme
    members: tuple[Ticket, ...]


@dataclass(frozen=True)
class Turn:
    """One cycle: its tickets placed, earlier unknown ones that were placed now, and what is new."""

    placed: list[Placed]
    adopted: list[Placed]
    found: list[Found]

    @property
    def share_by_library(self) -> float:
        """Share of the cycle's tickets that were placed without a model being asked."""
        return sum(one.how == "library" for one in self.placed) / max(len(self.placed), 1)
