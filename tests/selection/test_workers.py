"""What engines run for a selection."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from eotune.encoders.sentence import load_sentence
from eotune.selection.workers import EmbedTexts, ScoreConfig, ScorePairs

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


LONG = " ".join(f"boat {number}" for number in range(90))


def test_what_is_longer_than_an_encoder_reads_is_told():
    assert EmbedTexts("tiny")(table(["a port", LONG, LONG]))["cut"].to_pylist() == [False, True, True]


@pytest.mark.parametrize("column", ["perturbation", "similarity"])
def test_words_are_deleted_among_those_that_are_read(tmp_path, monkeypatch, column):
    Image.new("RGB", (8, 8), "navy").save(tmp_path / "a.png")
    worker, asked = ScorePairs(ScoreConfig(column, str(tmp_path), "tiny", words=3)), []
    embed = worker.encoder.encoder.embed_texts
    monkeypatch.setattr(
        worker.encoder.encoder, "embed_texts", lambda texts, **rest: asked.append(list(texts)) or embed(texts, **rest)
    )
    texts = [LONG, "a port with boats"]
    rows = table(texts).append_column("words", pa.array(texts)).append_column("images", pa.array([["a.png"]] * 2))
    assert worker(rows)["cut"].to_pylist() == [True, False]
    if column == "similarity":
        assert asked == [texts]
        return
    (read, short), perturbed = asked
    assert short == texts[1]
    assert LONG.startswith(read)
    tokens = [worker.encoder.encoder.tokenize([text])["input_ids"].tolist() for text in (LONG, read, perturbed[0])]
    assert tokens[0] == tokens[1] != tokens[2]
    assert [len(after.split()) for after in perturbed] == [len(read.split()) - 3, 1]
