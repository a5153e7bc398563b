"""How the options of the built-in grammar are asked for: a sentence for each, and what orders are recognised by.

Here: these two lists. Not here: reading a prompt (`prompt_reading`), or which order is worth giving (`reflecting`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flywheel_pipelines.llm.offline.choices import CHOICES, NO, YES

SENTENCES: Mapping[str, Mapping[str, str]] = {
    "opening": {
        "problem": "Open with a problem.",
        "scene": "Open with a scene.",
        "promise": "Open with a promise.",
        "insight": "Open with an insight.",
    },
    "length": {
        "short": "Keep it short.",
        "medium": "Aim for a medium length.",
        "long": "Write at length.",
    },
    "is_question": {YES: "Ask the reader a question.", NO: "Ask nothing: no questions."},
    "has_number": {YES: "Mention a number that the brief gives.", NO: "Avoid numbers."},
    "benefit": {
        "time": "Stress the time that is saved.",
        "cost": "Stress the cost that is saved.",
        "quality": "Stress the quality of the result.",
        "risk": "Stress the risk that is avoided.",
    },
    "tone": {
        "warm": "Write in a warm tone.",
        "plain": "Write in a plain tone.",
        "bold": "Write in a bold tone.",
        "formal": "Write in a formal tone.",
    },
    "call_to_action": {
        "reply": "Ask for a reply.",
        "call": "Offer a call.",
        "guide": "Point to the guide.",
        "trial": "Offer a trial.",
    },
}
"""One order for every option; `prompt_reading` understands each as that option."""
ORDERS: Sequence[tuple[str, str, re.Pattern[str]]] = [
    (choice, option, re.compile(pattern, re.I))
    for choice, option, pattern in [
        ("is_question", YES, r"\b(?:ask|pose|include|use|contain|end with|open with|start with)\b[^.]{0,30}\bquestion"),
        ("has_number", YES, r"\b(?:mention|use|include|give|state|name|cite)\b[^.]{0,30}\b(?:numbers?|figures?)\b"),
        ("length", "short", r"\b(?:keep|be|stay|write|make)\b[^.]{0,30}\b(?:short|brief|concise)\b"),
        ("length", "medium", r"\bmedium(?: in)? length\b"),
        ("length", "long", r"\b(?:write|be|go)\b[^.]{0,30}\b(?:long|at length|in[- ]depth|thorough)\b"),
        ("tone", "warm", r"\b(?:warm|friendly)\b[^.]{0,12}\b(?:tone|voice|style)\b|\b(?:be|sound|write) warm"),
        ("tone", "plain", r"\bplain\b[^.]{0,12}\b(?:tone|voice|style|language|words)\b|\b(?:be|sound|write) plain"),
        ("tone", "bold", r"\bbold\b[^.]{0,12}\b(?:tone|voice|style)\b|\b(?:be|sound|write) bold"),
        ("tone", "formal", r"\bformal\b[^.]{0,12}\b(?:tone|voice|style)\b|\b(?:be|sound|write) formal"),
        ("opening", "problem", r"\b(?:open|start|begin) with (?:a|the) problem\b"),
        ("opening", "scene", r"\b(?:open|start|begin) with (?:a|the) scene\b"),
        ("opening", "promise", r"\b(?:open|start|begin) with (?:a|the) promise\b"),
        ("opening", "insight", r"\b(?:open|start|begin) with (?:an|the) insight\b"),
        *(
            ("benefit", option, rf"\b(?:stress|emphasi[sz]e|focus on|lead with|promise)\b[^.]{{0,20}}\b{word}\b")
            for option, word in [("time", "time"), ("cost", "costs?"), ("quality", "quality"), ("risk", "risks?")]
        ),
        *(
            ("call_to_action", option, rf"\b(?:ask for|invite|offer|end with|point to)\b[^.]{{0,25}}\b{option}\b")
            for option in CHOICES["call_to_action"]
        ),
    ]
]  # fmt: skip
