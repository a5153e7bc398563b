"""The offline writer without HTTP, for seasons that are played by the dozen.

The request bodies and the answers are those of the demo, to the byte; what is left out is the connection, the journal
and the request ledger. Not here: writing (`llm/offline`), or the ordinary way of asking (`loop/writing.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

import numpy as np

from flywheel_pipelines.chat import Answer, ChatRequest, Usage
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.llm.answer_schema import AnswerCheck
from flywheel_pipelines.llm.asking import AskReport
from flywheel_pipelines.llm.embedding import Embedded
from flywheel_pipelines.llm.offline.answering import chat_completion, embeddings
from flywheel_pipelines.llm.payload import chat_body
from flywheel_pipelines.loop.writing import OFFLINE_MODEL
from flywheel_pipelines.spec import LlmProducer, ScoringModelSpec


class DirectWriters:
    """Answers every request in this process, and counts the tokens of each cycle."""

    is_offline = True

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.tokens: Counter[date] = Counter()

    def model_of(self, producer: LlmProducer) -> str:
        """See `loop.writing.Writers`."""
        return OFFLINE_MODEL

    def answer(self, requests: Sequence[ChatRequest], producer: LlmProducer, store: Lake) -> AskReport:
        """See `loop.writing.Writers`."""
        # The requests of a cycle share one schema.
        check = AnswerCheck(requests[0].schema) if requests else None
        report = AskReport(n_asked=len(requests), n_tries=len(requests), cost=None, cycle_cost=None)
        for request in requests:
            completion = chat_completion(chat_body(request, "json_schema"))
            assert check is not None
            content = check.read(completion["choices"][0]["message"]["content"])
            usage = Usage(completion["usage"]["prompt_tokens"], completion["usage"]["completion_tokens"])
            self.tokens[request.cycle] += usage.prompt + usage.completion
            report.answers[request.key] = Answer(request.key, content, usage, None)
        return report

    def embed(self, texts: Sequence[str], spec: ScoringModelSpec) -> Embedded:
        """See `loop.writing.Writers`."""
        size = {"dimensions": spec.embedding_dimensions} if spec.embedding_dimensions else {}
        answer = embeddings({"model": OFFLINE_MODEL, "input": list(texts), **size})
        return Embedded(np.array([entry["embedding"] for entry in answer["data"]]))
