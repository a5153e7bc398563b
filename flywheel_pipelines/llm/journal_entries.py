"""The entries of a journal, as values and as the JSON that stands on disk.

Here: what can be said of a request, and how a group of entries is written and read. Not here: where it is stored
(`journal`), and what it means for the lake (`ledger`).

A group is a JSON array of [kind, body]. The requests of a cycle share most of their words (rules, guidelines and
references come first, for the sake of the provider's prompt cache), so a long text is written once, as an entry `text`
under a name of its own, and requests refer to it: a journal of thousands of requests stays small and quick to read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from flywheel_pipelines.chat import ChatRequest

LONG_TEXT = 500
"""Characters from which on a message's text is written under a name."""
MOST_KNOWN = 256
"""So many texts are remembered as written; texts that do not come again must not fill the memory."""


@dataclass(frozen=True)
class Asked:
    """A request is about to be sent for the first time in this run. Saying it twice does nothing."""

    request: ChatRequest
    mode: Literal["live", "batch"] = "live"


@dataclass(frozen=True)
class Sent:
    """A try is about to be sent: recorded first, so that no request goes out unrecorded. Tries count from 1."""

    key: str
    number: int
    form: str
    at: datetime


@dataclass(frozen=True)
class Outcome:
    """What became of a try. `result` is one word (answered, rate_limited, timeout, ...), `detail` says more.

    Tokens are None where the endpoint did not count them; `cost` (US dollars) is None without them or without a price.
    """

    result: str
    detail: str = ""
    status: int | None = None
    seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Returned:
    """A try came to an end."""

    key: str
    number: int
    outcome: Outcome


@dataclass(frozen=True)
class Withdrawn:
    """A try that was recorded, and then not sent after all."""

    key: str
    number: int


@dataclass(frozen=True)
class Ended:
    """A request came to an end in this run. `answer` is the valid answer as JSON text, `error` why there is none."""

    key: str
    status: Literal["answered", "failed"]
    answer: str | None = None
    error: str | None = None
    latency: float = 0.0


Entry = Asked | Sent | Returned | Withdrawn | Ended


@dataclass(frozen=True)
class JournalTry:
    """One try as the journal holds it; no outcome means that the run ended while it was under way."""

    number: int
    form: str
    sent_at: str
    outcome: Outcome | None


@dataclass(frozen=True)
class JournalRequest:
    """One request as the journal holds it. `asked` has the fields that `describe` gives."""

    key: str
    asked: dict[str, Any]
    tries: tuple[JournalTry, ...] = ()
    ended: Ended | None = None


def describe(request: ChatRequest, mode: str = "live") -> dict[str, Any]:
    """What the ledger keeps of a request, besides its key."""
    messages = _messages_json((message.role, _quoted(message.content)) for message in request.messages)
    return {**_named(request, mode), "messages": messages}


def _named(request: ChatRequest, mode: str) -> dict[str, Any]:
    return {
        "brief_id": request.brief_id,
        "arm": request.arm,
        "variant": request.variant,
        "attempt": request.attempt,
        "model": request.model,
        "prompt_version": request.prompt_version,
        "mode": mode,
    }


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _messages_json(messages: Iterable[tuple[str, str]]) -> str:
    """The messages as JSON, from their roles and their contents in quotes."""
    return "[" + ", ".join(f'{{"role": "{role}", "content": {content}}}' for role, content in messages) + "]"


class Writing:
    """Makes the groups of one journal.

    What has been written once is only named afterwards. So after a group that did not reach the disk, and after the
    journal was cleared, go on with a new `Writing`.
    """

    def __init__(self) -> None:
        """Nothing is known to be on disk yet."""
        self._names: dict[str, str] = {}

    def group(self, entries: Iterable[Entry]) -> str:
        """A group as JSON. ASCII, since what endpoints say in errors need not be valid text."""
        return json.dumps([one for entry in entries for one in self._said(entry)])

    def _said(self, entry: Entry) -> list[list[Any]]:
        if isinstance(entry, Asked):
            return self._asked(entry)
        if isinstance(entry, Sent):
            body = {"key": entry.key, "number": entry.number, "form": entry.form, "at": entry.at.isoformat()}
            return [["sent", body]]
        if isinstance(entry, Returned):
            return [["returned", {"key": entry.key, "number": entry.number, "outcome": vars(entry.outcome)}]]
        return [["withdrawn" if isinstance(entry, Withdrawn) else "ended", vars(entry)]]

    def _asked(self, entry: Asked) -> list[list[Any]]:
        said, messages = [], []
        for message in entry.request.messages:
            if len(message.content) < LONG_TEXT:
                messages.append([message.role, message.content])
                continue
            name = self._names.get(message.content)
            if name is None:
                if len(self._names) >= MOST_KNOWN:
                    self._names.clear()
                name = hashlib.sha256(message.content.encode()).hexdigest()
                self._names[message.content] = name
                said.append(["text", {"key": name, "text": message.content}])
            messages.append([message.role, {"text": name}])
        body = {"key": entry.request.key, "asked": _named(entry.request, entry.mode), "messages": messages}
        return [*said, ["asked", body]]


class Reading:
    """What stands in the groups of a journal, read in their order."""

    def __init__(self) -> None:
        """Nothing read yet."""
        self._asked: dict[str, dict[str, Any]] = {}
        self._messages: dict[str, list[tuple[str, str | dict[str, str]]] | None] = {}
        self._tries: dict[str, dict[int, JournalTry]] = {}
        self._ends: dict[str, Ended] = {}
        self._texts: dict[str, str] = {}

    def add(self, group: str) -> None:
        """Read one more group."""
        for kind, body in json.loads(group):
            key = body["key"]
            if kind == "text":
                self._texts[key] = _quoted(body["text"])
                continue
            tries = self._tries.setdefault(key, {})
            if kind == "asked":
                self._asked.setdefault(key, body["asked"])
                # Journals of earlier versions have the messages as they come in the lake, within `asked`.
                self._messages.setdefault(key, body.get("messages"))
            elif kind == "sent":
                tries[body["number"]] = JournalTry(body["number"], body["form"], body["at"], None)
            elif kind == "returned":
                sent = tries[body["number"]]
                tries[body["number"]] = JournalTry(sent.number, sent.form, sent.sent_at, Outcome(**body["outcome"]))
            elif kind == "withdrawn":
                del tries[body["number"]]
            else:
                self._ends[key] = Ended(**body)

    def requests(self) -> list[JournalRequest]:
        """Every request, by key."""
        return [
            JournalRequest(key, self._described(key), tuple(self._tries[key].values()), self._ends.get(key))
            for key in sorted(self._asked)
        ]

    def _described(self, key: str) -> dict[str, Any]:
        messages = self._messages[key]
        if messages is None:
            return self._asked[key]
        quoted = (
            (role, self._texts[content["text"]] if isinstance(content, dict) else _quoted(content))
            for role, content in messages
        )
        return {**self._asked[key], "messages": _messages_json(quoted)}
