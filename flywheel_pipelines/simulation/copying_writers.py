"""A writer that has stopped writing: it hands back the best reference that its prompt shows.

What a loop without a guard may come to, in one step: a model that imitates its examples perfectly. The guard against
collapse is tried against it (`benchmarks.collapse`). Not here: the offline writer, which writes anew (`llm/offline`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flywheel_pipelines.chat import ChatRequest
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.asking import AskReport
from flywheel_pipelines.production.content import readable_text
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.spec import LlmProducer


class CopyingWriters(DirectWriters):
    """Answers with the content of the first reference in the prompt; without references it writes."""

    def __init__(self) -> None:
        """Nothing was written yet."""
        super().__init__()
        self._written: dict[str, Mapping[str, Any]] = {}

    def answer(self, requests: Sequence[ChatRequest], producer: LlmProducer, store: Lake) -> AskReport:
        """See `loop.writing.Writers`."""
        report = super().answer(requests, producer, store)
        for request in requests:
            copied = self._copied(request)
            written = report.answers[request.key]
            report.answers[request.key] = replace(written, content=copied) if copied is not None else written
        for answer in report.answers.values():
            self._written.setdefault(readable_text(answer.content), answer.content)
        return report

    def _copied(self, request: ChatRequest) -> Mapping[str, Any] | None:
        """The content of the text that the messages show first; None when they show none that was written before."""
        shown = "\n".join(message.content for message in request.messages)
        places = [(shown.find(text), text) for text in self._written if text in shown]
        return self._written[min(places)[1]] if places else None
