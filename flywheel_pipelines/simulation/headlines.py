"""A small grammar of synthetic headlines: the choices a writer has, and the text they make.

Here: the choices, drawing and coding them, and the sentences. Nobody wrote these headlines.
Not here: which choices readers prefer (`synthetic_archive`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OPENINGS = ("plain", "watch", "meet", "heres", "when")
TONES = ("plain", "warm", "angry", "funny")


@dataclass(frozen=True)
class Choices:
    """What the writer of one headline decided."""

    opening: str
    tone: str
    is_question: bool
    has_number: bool
    leaves_gap: bool
    names_subject: bool
    is_long: bool


@dataclass(frozen=True)
class Story:
    """What all headlines of one brief are about."""

    topic: str
    name: str
    role: str
    deed: str
    number: int


FEATURES = (
    *(f"opening={opening}" for opening in OPENINGS),
    *(f"tone={tone}" for tone in TONES),
    "is_question",
    "has_number",
    "leaves_gap",
    "names_subject",
    "is_long",
)

TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "health": (
        ("nurse", "surgeon", "paramedic", "pharmacist"),
        ("opened a night clinic", "rewrote the rules for waiting rooms", "refused to send a patient home"),
    ),
    "money": (
        ("cashier", "banker", "landlord", "tax clerk"),
        ("gave a bonus back", "paid off a stranger's debt", "cut the rent in half"),
    ),
    "parenting": (
        ("father of twins", "grandmother", "stepmother", "new dad"),
        ("threw out the screens", "answered the hardest question", "let the kids run the house"),
    ),
    "climate": (
        ("farmer", "bus driver", "roofer", "fisherman"),
        ("planted a forest", "stopped a pipeline", "switched off the furnace"),
    ),
    "schools": (
        ("janitor", "maths teacher", "head teacher", "school cook"),
        ("cancelled homework", "taught a class in the rain", "rewrote the report cards"),
    ),
}
NAMES = ("Maria Lopez", "Dan Okafor", "Priya Shah", "Tom Becker", "Aiko Mori", "Lena Novak", "Sam Reyes", "Zoe Grant")

_STATEMENT = {
    "plain": "{who} {deed}",
    "watch": "watch how {who} {deed}",
    "meet": "meet {who} who {deed}",
    "heres": "here's how {who} {deed}",
    "when": "this is what happened when {who} {deed}",
}
_QUESTION = {
    "plain": "did you know {who} {deed}",
    "watch": "want to see how {who} {deed}",
    "meet": "have you met {who} who {deed}",
    "heres": "ever wonder how {who} {deed}",
    "when": "what happened when {who} {deed}",
}
_TONE = {
    "plain": ("",),
    "warm": (", and it is beautiful", ", and it restores some hope", ", with so much heart"),
    "angry": (", and it is a disgrace", ", and someone should answer for it", ", which is outrageous"),
    "funny": (", and it is hilarious", ", and nobody kept a straight face", ", which is very silly"),
}
_LONG = (
    " after everyone said it could not be done",
    " while the whole town was looking the other way",
    " and did not ask anybody for permission first",
)
_GAP = (
    " the ending is not what you think.",
    " wait for the second part.",
    " one detail changes everything.",
)


def draw_story(rng: np.random.Generator, topic: str) -> Story:
    """A story of a topic."""
    roles, deeds = TOPICS[topic]
    return Story(topic, _one_of(rng, NAMES), _one_of(rng, roles), _one_of(rng, deeds), int(rng.integers(3, 90)))


def draw_choices(rng: np.random.Generator) -> Choices:
    """Every choice at random: a pile of past headlines follows no plan."""
    yes = rng.random(5) < 0.5
    return Choices(_one_of(rng, OPENINGS), _one_of(rng, TONES), *(bool(value) for value in yes))


def coded(choices: Choices) -> np.ndarray:
    """The choices as 0 and 1, in the order of FEATURES."""
    flags = (
        choices.is_question,
        choices.has_number,
        choices.leaves_gap,
        choices.names_subject,
        choices.is_long,
    )
    return np.array(
        [
            *(choices.opening == opening for opening in OPENINGS),
            *(choices.tone == tone for tone in TONES),
            *flags,
        ],
        dtype=float,
    )


def headline(rng: np.random.Generator, story: Story, choices: Choices) -> str:
    """A text that carries out these choices for this story; `rng` varies the wording."""
    who = f"{story.name}, a {story.role}," if choices.names_subject else f"a {story.role}"
    deed = f"{story.deed} in {story.number} days" if choices.has_number else story.deed
    sentence = (_QUESTION if choices.is_question else _STATEMENT)[choices.opening].format(who=who, deed=deed)
    if choices.is_long:
        sentence += _one_of(rng, _LONG)
    sentence += _one_of(rng, _TONE[choices.tone]) + ("?" if choices.is_question else ".")
    if choices.leaves_gap:
        sentence += _one_of(rng, _GAP)
    return " ".join(word[:1].upper() + word[1:] for word in sentence.split(" "))


def _one_of(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
