"""What an endpoint has been found to take, and how that is found out.

Here: choosing the form in which answers are asked for, learning from refusals, and remembering both per endpoint and
model, in `endpoints.json`. Not here: the bodies themselves (`payload`).

Until a form has worked once, requests go one at a time. A refusal that names the form settles it at once. A 500 may be
a refusal in disguise (a llama.cpp server answers so to `json_schema`) or an outage; so the next form is tried, and only
when that one works while the first has failed three times, is the first given up. Delete the file to have an endpoint
tried afresh.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flywheel_pipelines.llm.payload import DEFAULT_DIALECT, Dialect
from flywheel_pipelines.llm.provider import redact
from flywheel_pipelines.llm.replies import Verdict
from flywheel_pipelines.llm.settings import FORMS, Form

STRIKES = 3
USELESS = 5
"""So many complete answers in one form, none of them valid, and the endpoint is taken to ignore that form."""
MEMORY = "endpoints.json"


class Terms:
    """What one endpoint takes for one model, as far as is known."""

    def __init__(self, forms: tuple[Form, ...] = FORMS, dialect: Dialect = DEFAULT_DIALECT) -> None:
        """Start from the forms to choose among, in order of preference; a single one is never given up."""
        self.dialect = dialect
        self.refused: dict[str, str] = {}
        self.settled: Form | None = forms[0] if len(forms) == 1 else None
        self._forms = forms
        self._strikes: dict[Form, int] = dict.fromkeys(forms, 0)
        self._worked: set[Form] = set()
        self._useless: dict[Form, int] = dict.fromkeys(forms, 0)
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn: alone until the form is settled, at once afterwards."""
        if self.settled:
            yield
            return
        async with self._lock:
            if not self.settled:
                yield
                return
        yield

    @property
    def chooses(self) -> bool:
        """Whether there was anything to choose."""
        return len(self._forms) > 1

    @property
    def left(self) -> list[Form]:
        """Forms not given up, the preferred first."""
        return [form for form in self._forms if form not in self.refused]

    def choose(self) -> Form:
        """The form of the next try."""
        if self.settled:
            return self.settled
        first, *others = self.left
        if any(form in self._worked for form in others):
            return first
        return min(self.left, key=lambda form: self._strikes[form])

    def learn(self, form: Form, verdict: Verdict, *, limit: int) -> bool:
        """Take note of what a try in this form came to; returns whether the next try may go out at once.

        `limit` is the most tokens that the answer was allowed.
        """
        if verdict.kind == "parameter_refused":
            return self._learn_parameter(verdict.parameter)
        if verdict.kind in ("form_refused", "bad_request"):
            if form not in self.left:
                # Sent before another request was refused in the same way.
                return True
            if len(self.left) == 1 or (verdict.kind == "bad_request" and self.settled):
                return False
            self._give_up(form, verdict.words)
            return True
        if verdict.kind in ("answered", "unusable") and verdict.usage and verdict.usage.completion > limit:
            # It did not know the parameter that bounds the answer, and ignored it.
            self.dialect = replace(self.dialect, token_limit="max_tokens")
        if verdict.kind in ("answered", "item_failed") or verdict.result in ("invalid", "truncated"):
            self._learn_success(form, verdict)
        elif verdict.result == "server_error" and not self.settled:
            return self._learn_strike(form)
        return False

    def _learn_success(self, form: Form, verdict: Verdict) -> None:
        self._worked.add(form)
        if verdict.kind == "answered":
            self._useless[form] = -1
        elif verdict.result == "invalid" and self._useless[form] >= 0:
            self._useless[form] += 1
            if self._useless[form] >= USELESS and len(self.left) > 1 and form in self.left:
                self._give_up(form, "its answers did not keep to the schema")
                return
        if self.left[0] in self._worked:
            self.settled = self.left[0]

    def _learn_strike(self, form: Form) -> bool:
        self._strikes[form] += 1
        later = [other for other in self.left if other != form and other in self._worked]
        if later and self._strikes[form] >= STRIKES:
            self._give_up(form, f"answered {self._strikes[form]} times with a server error, while {later[0]} worked")
        return self._strikes[self.choose()] == 0 or bool(later)

    def _give_up(self, form: Form, why: str) -> None:
        self.refused[form] = why
        self.settled = self.left[0] if self.left[0] in self._worked else None

    def _learn_parameter(self, parameter: str) -> bool:
        before = self.dialect
        if parameter == "max_completion_tokens":
            self.dialect = replace(before, token_limit="max_tokens")
        elif parameter == "max_tokens":
            self.dialect = replace(before, token_limit="max_completion_tokens")
        elif parameter == "seed":
            self.dialect = replace(before, takes_seed=False)
        else:
            self.dialect = replace(before, takes_object_schema=False)
        return True


class EndpointMemory:
    """Terms by endpoint and model, kept in one small file."""

    def __init__(self, folder: Path, url: str) -> None:
        """Name the folder and the endpoint; the file may be absent, and is passed over when it cannot be read."""
        self._path, self._url = folder / MEMORY, redact(url)

    def terms(self, model: str, wanted: str) -> Terms:
        """What is remembered of a model, or a fresh start. `wanted` is the setting: a form, or auto."""
        found = self._read().get(f"{self._url} {model}", {})
        dialect = DEFAULT_DIALECT
        # Written by an older or newer version, perhaps: then it is learned again.
        with contextlib.suppress(TypeError):
            dialect = Dialect(**found.get("dialect", {}))
        if wanted != "auto":
            return Terms(tuple(form for form in FORMS if form == wanted), dialect)
        terms = Terms(dialect=dialect)
        refused = {form: str(why) for form, why in found.get("refused", {}).items() if form in FORMS}
        if len(refused) < len(FORMS):
            terms.refused = refused
            terms.settled = terms.left[0] if found.get("form") == terms.left[0] else None
        return terms

    def remember(self, model: str, terms: Terms) -> None:
        """Keep what was learned. Another run may write at the same time; then one of the two learns it again."""
        if terms.settled is None:
            return
        known = self._read()
        before = known.get(f"{self._url} {model}", {})
        found = {"form": terms.settled, "refused": terms.refused} if terms.chooses else {}
        entry = {**before, **found, "dialect": asdict(terms.dialect)}
        if before == entry:
            return
        known[f"{self._url} {model}"] = entry
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{MEMORY}.{os.getpid()}")
        temporary.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(temporary, self._path)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        entries = found.items() if isinstance(found, dict) else ()
        return {
            name: entry
            for name, entry in entries
            if isinstance(entry, dict) and isinstance(entry.get("refused", {}), dict)
        }
