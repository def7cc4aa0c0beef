"""The tiny vision-language model: made of a small ViT, taught captions, loaded by its name."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTModel

from eotune.data.captions import read_captions
from eotune.encoders.multimodal import load_pairs
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder
from eotune.tasks.instruct_inputs import IGNORED, Lessons, collate_lessons

SCRIPT = Path(__file__).parents[2] / "scripts" / "tiny_vlm.py"
TEXTS = ["a dark lake .", "a bright desert ."]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("tiny_vlm", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                       image_size=64, patch_size=16)  # fmt: skip
    folder = tmp_path_factory.mktemp("vision")
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def captions(tmp_path):
    rows = []
    for number in range(8):
        Image.fromarray(np.full((40, 40, 3), 20 + 200 * (number % 2), np.uint8)).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "split": "train", "captions": [TEXTS[number % 2]] * 2})
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_captions(tmp_path / "captions.jsonl", split="train")


def test_a_smaller_vit_sees_as_the_whole_one_does_with_interpolated_positions(script, vision):
    whole = ViTModel.from_pretrained(vision, add_pooling_layer=False).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = whole(pixels, interpolate_pos_encoding=True).last_hidden_state
        torch.testing.assert_close(script.smaller(whole, 32).eval()(pixels).last_hidden_state, expected)


def test_words_are_whole_without_case_and_the_image_is_one_token(script):
    words = script.tokenizer(["Is it a Port?", "storage tanks"])
    ids = words("user: <image>\nis it a PORT ?")["input_ids"]
    assert words.convert_ids_to_tokens(ids) == ["user", ":", "<image>", "is", "it", "a", "port", "?"]
    assert words("zebra")["input_ids"] == [words.unk_token_id]


def test_features_are_standardised_by_the_first_layer(script):
    features = torch.randn(50, 5, 6) * torch.arange(1, 7) + 3
    projector = torch.nn.Module()
    projector.linear_1 = torch.nn.Linear(6, 4)
    plain = torch.nn.Linear(6, 4)
    plain.load_state_dict(projector.linear_1.state_dict())
    script.standardise(projector, features)
    flat = (features - features.mean((0, 1))) / features.std((0, 1))
    torch.testing.assert_close(projector.linear_1(features), plain(flat), rtol=1e-4, atol=1e-4)


def test_only_unknown_words_are_drawn_anew_and_are_as_long_as_the_known(script, vision):
    model, _ = script.fresh(vision, TEXTS, 32, 0)
    vectors = model.get_input_embeddings().weight
    before, known = vectors.detach().clone(), torch.arange(5, len(vectors))
    with torch.no_grad():
        vectors[5:] *= 10
        before[5:] *= 10
    script.draw_anew(model, known, 0)
    assert torch.equal(vectors[5:], before[5:])
    assert not torch.isclose(vectors[:5], before[:5]).any()
    lengths = vectors.detach().norm(dim=1)
    assert float(lengths[:5].mean()) == pytest.approx(float(lengths[5:].mean()), rel=0.15)
    assert torch.equal(model.lm_head.weight, vectors)


def test_the_loss_from_cached_features_is_that_of_the_whole_model(script, vision, captions):
    model, processor = script.fresh(vision, TEXTS, 32, 0)
    encoder = VisionLanguageEncoder(model, processor).eval()
    images = [np.asarray(Image.open(path)) for path in captions.paths()[:2]]
    made = Lessons(encoder, 128)
    lessons = [made.lesson(image, [("what ?", text)]) for image, text in zip(images, TEXTS, strict=True)]
    batch = collate_lessons(lessons, encoder.prompts.pad_id)
    with torch.no_grad():
        loss, count = script.loss_of(model, batch, script.seen(encoder, captions)[:2])
        expected = model(**batch).loss
    assert count == int((batch["labels"] != IGNORED).sum())
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)


def test_it_learns_the_captions_and_is_loaded_by_its_name(script, vision, captions, tmp_path, capsys):
    model, processor = script.fresh(vision, TEXTS, 32, 0)
    encoder = VisionLanguageEncoder(model, processor)
    before = model.model.vision_tower.state_dict()["embeddings.cls_token"].clone()
    script.teach(encoder, captions, epochs=80, batch=4, rate=3e-3, seed=0)
    assert "caption tokens/s" in capsys.readouterr().out
    assert torch.equal(before, model.model.vision_tower.state_dict()["embeddings.cls_token"])
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    loaded = load_pairs(f"vlm:{tmp_path / 'model'}")
    images = [np.full((40, 40, 3), tone, np.uint8) for tone in (20, 220)]
    assert loaded.generate(images, ["What does the image show?"] * 2) == TEXTS
    assert loaded.shares_prefix
