"""What engines run for a selection."""

import numpy as np
import pyarrow as pa
import pytest

from eotune.encoders.sentence import load_sentence
from eotune.selection.workers import EmbedTexts

TEXTS = ["a port", "a long text about a forest", "a port", "a river", "a river"]


def table(texts):
    return pa.table({"id": [str(n) for n in range(len(texts))], "position": range(len(texts)), "text": texts})


def test_equal_texts_are_embedded_once_and_stand_in_their_rows(monkeypatch):
    worker, asked = EmbedTexts("tiny"), []
    embed = worker.encoder.embed
    monkeypatch.setattr(
        worker.encoder, "embed", lambda texts, **rest: asked.append(list(texts)) or embed(texts, **rest)
    )
    found = worker(table(TEXTS))
    assert asked == [["a port", "a long text about a forest", "a river"]]
    vectors = np.array(found["embedding"].to_pylist())
    assert vectors == pytest.approx(load_sentence("tiny").embed(TEXTS), abs=2e-3)  # float16
    assert found["error"].null_count == len(TEXTS)


def test_a_text_whose_vector_is_not_finite_fails_in_all_its_rows(monkeypatch):
    worker = EmbedTexts("tiny")
    monkeypatch.setattr(worker.encoder, "embed", lambda texts, **_: np.array([[np.nan, 0], [1, 0]])[: len(texts)])
    errors = worker(table(["bad", "good", "bad"]))["error"].to_pylist()
    assert errors[1] is None
    assert errors[0] == errors[2] == "its vectors are not finite numbers; use precision fp32"
