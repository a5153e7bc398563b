"""The model of the extra `embeddings`: it runs here, tells meanings apart, and gives a text one vector for ever."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from flywheel_pipelines.learning.embedding_features import rounded
from flywheel_pipelines.llm import embedding_local
from flywheel_pipelines.llm.embedding import EmbeddingError
from flywheel_pipelines.llm.embedding_local import DIMENSIONS, embed_locally, is_installed

needs_the_extra = pytest.mark.skipif(
    not is_installed(), reason="the extra `embeddings` is not installed (make embeddings)"
)
PARAPHRASES = ["A man gave his coat to a stranger.", "Somebody handed his jacket to a person he did not know."]
OTHER = "Quarterly revenue rose by four percent."


@pytest.mark.slow
@needs_the_extra
def test_paraphrases_lie_closer_than_other_texts() -> None:
    left, right, other = embed_locally([*PARAPHRASES, OTHER])
    assert left @ right > left @ other + 0.3


@pytest.mark.slow
@needs_the_extra
def test_a_text_has_the_same_bytes_alone_and_in_company() -> None:
    together = embed_locally([*PARAPHRASES, OTHER])
    assert together.shape == (3, DIMENSIONS)
    assert rounded(together).tobytes() == b"".join(rounded(embed_locally([x])).tobytes() for x in [*PARAPHRASES, OTHER])


@pytest.mark.slow
@needs_the_extra
def test_odd_texts_have_vectors_too() -> None:
    assert np.isfinite(embed_locally(["😀", "x" * 50_000, "日本語", "\x00"])).all()


@pytest.mark.slow
@needs_the_extra
def test_in_a_process_that_has_marimo_loaded_it_works_as_elsewhere() -> None:
    code = (
        "import marimo\n"
        "from flywheel_pipelines.llm.embedding_local import embed_locally\n"
        "print(embed_locally(['A text.']).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"(1, {DIMENSIONS})", done.stderr


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_local, "is_installed", lambda: False)
    embedding_local._model.cache_clear()
    with pytest.raises(EmbeddingError, match="make embeddings"):
        embed_locally(["a"])
    embedding_local._model.cache_clear()


def test_nothing_to_embed_needs_no_model() -> None:
    assert embed_locally([]).shape == (0, DIMENSIONS)
