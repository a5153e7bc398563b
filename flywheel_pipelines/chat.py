"""What is asked of a language model, and what comes back: the words that `production` and `llm` share.

Here: requests, their keys, answers and failures, as values. Not here: rendering prompts (`production`), sending and
storing (`llm`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class ChatRequest:
    """One question, with everything its answer may depend on.

    `parameters` are passed to the endpoint as they are; `schema` is the JSON Schema of the answer (None: any text).
    """

    flywheel: str
    cycle: date
    brief_id: str
    arm: str
    variant: int
    attempt: int
    model: str
    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None = None
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    max_output_tokens: int = 1_500
    prompt_version: str = ""

    @cached_property
    def key(self) -> str:
        """sha256 (64 hex digits) of all that is asked and of what it is asked for; the same in every process.

        How the endpoint is made to keep to the schema is not part of it: the question is the same.
        """
        asked = [
            self.model,
            sorted(self.parameters.items()),
            self.max_output_tokens,
            [[message.role, message.content] for message in self.messages],
            json.dumps(self.schema, sort_keys=True) if self.schema is not None else None,
            self.flywheel,
            self.cycle.isoformat(),
            self.brief_id,
            self.arm,
            self.variant,
            self.attempt,
        ]
        return hashlib.sha256(json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()

    @property
    def seed(self) -> int:
        """The seed that is sent along: variants of one brief differ by it alone."""
        return int(self.key[:8], 16) % 2**31


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, as the endpoint counted them. `cached` is the part of `prompt` that its cache served."""

    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True)
class Answer:
    """A valid answer. `content` keeps to the request's schema; without a schema it is {"text": ...}."""

    key: str
    content: Mapping[str, Any]
    usage: Usage | None
    cost: float | None
    """US dollars; None when the model has no price or the endpoint did not count tokens."""


@dataclass(frozen=True)
class Failure:
    """A request that was given up, and why, in words."""

    key: str
    reason: str
