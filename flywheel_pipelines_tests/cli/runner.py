"""What a `flywheel` command left behind, for the tests that run one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Both streams, with the line breaks that a narrow terminal makes taken out."""
        return " ".join((self.out + self.err).split())


Run = Callable[..., Ran]
