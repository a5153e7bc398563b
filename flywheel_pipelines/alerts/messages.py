"""An alert in words: which flywheel, which cycle, what happened, whom it concerns, where to look. Not here: sending."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_CHARACTERS = 2_000
"""Slack cuts longer texts, and nobody reads them."""


@dataclass(frozen=True)
class Alert:
    """What people are told.

    Attributes:
        subject: one line.
        text: what happened and what to do, in plain text.
        owners: as in the YAML, `team:<name>` or an e-mail address; the latter are sent to.
        link: where to look; None where no address of the UI is known.
    """

    subject: str
    text: str
    owners: Sequence[str] = ()
    link: str | None = None

    @property
    def body(self) -> str:
        """Everything but the subject."""
        text = self.text if len(self.text) <= MOST_CHARACTERS else self.text[: MOST_CHARACTERS - 1] + "…"
        parts = [text]
        if self.owners:
            parts.append(f"Owners: {', '.join(self.owners)}")
        if self.link:
            parts.append(self.link)
        return "\n\n".join(parts)

    @property
    def addresses(self) -> list[str]:
        """The owners that can be written to."""
        return [owner for owner in self.owners if "@" in owner]


def run_failed(job: str, cycles: str, why: str, owners: Sequence[str], link: str | None) -> Alert:
    """A run that failed; `cycles` says which ones it was about, and may be empty."""
    about = f", {cycles}" if cycles else ""
    return Alert(f"{job} failed{about}", f"{why}\n\nRe-execute the run once its cause is put right.", owners, link)


def checks_objected(
    job: str, cycles: str, objections: Sequence[tuple[str, str]], owners: Sequence[str], link: str | None
) -> Alert:
    """A run that ended well although checks of it object: name and words of each."""
    about = f", {cycles}" if cycles else ""
    lines = "\n".join(f"- {name}: {words}" for name, words in objections)
    count = f"{len(objections)} check{'' if len(objections) == 1 else 's'}"
    return Alert(f"{job}: {count} to look at{about}", lines, owners, link)


def cycle_overdue(flywheel: str, cycle: str, deadline: str, owners: Sequence[str], link: str | None) -> Alert:
    """A cycle that should have been closed by now."""
    text = (
        f"Cycle {cycle} of {flywheel} is over and should have been closed by {deadline}. Look at its newest run and at "
        f"the sensor {flywheel}__turn: it says what it waits for."
    )
    return Alert(f"{flywheel}: cycle {cycle} is not closed", text, owners, link)
