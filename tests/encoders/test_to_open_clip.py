import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from eotune import encoders
from eotune.core.errors import InputError
from eotune.encoders.to_open_clip import is_clip, read_open_clip, write_open_clip

TEXTS = ["white planes", "a long row of houses with red roofs beside the sea"]


@pytest.fixture
def images():
    return [np.random.default_rng(i).integers(0, 256, (50 + i, 90, 3), dtype=np.uint8) for i in range(3)]


@pytest.mark.parametrize("size", [64, 96])
def test_what_is_written_embeds_the_same(tmp_path, images, size):
    encoder = encoders.load("tiny", image_size=size)
    encoder.transform = replace(encoder.transform, centre="round")  # as open_clip always does
    expected = encoder.embed_images(images), encoder.embed_texts(TEXTS)
    write_open_clip(encoder, tmp_path)
    found = read_open_clip(tmp_path).eval()
    np.testing.assert_allclose(found.embed_images(images), expected[0], atol=1e-6)
    np.testing.assert_allclose(found.embed_texts(TEXTS), expected[1], atol=1e-6)
    assert found.logit_scale().item() == pytest.approx(encoder.logit_scale().item())


def test_the_configuration_says_what_weights_do_not_show(tmp_path):
    encoder = encoders.load("tiny")
    for side in (encoder.model.config.vision_config, encoder.model.config.text_config):
        side.hidden_act = "quick_gelu"
    write_open_clip(encoder, tmp_path)
    said = json.loads((tmp_path / "open_clip_config.json").read_text())
    assert said["model_cfg"]["quick_gelu"] is True
    assert said["model_cfg"]["vision_cfg"] == {
        "image_size": 64, "patch_size": 16, "width": 160, "layers": 5, "head_width": 32,
    }  # fmt: skip
    assert said["model_cfg"]["text_cfg"]["pool_type"] == "argmax"
    assert said["preprocess_cfg"] == {
        "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest",
    }  # fmt: skip


def test_an_end_of_text_inside_the_vocabulary_is_named(tmp_path):
    encoder = encoders.load("tiny")
    tower = encoder.model.text_model
    tower.eos_token_id = encoder.model.config.text_config.eos_token_id = 7
    ids = torch.tensor([[1, 90, 7, 0], [1, 7, 300, 0]])
    mask = torch.ones_like(ids)
    write_open_clip(encoder, tmp_path)
    text = json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    assert (text["pool_type"], text["eos_id"]) == ("eos", 7)
    with torch.no_grad():
        found = read_open_clip(tmp_path).eval().text_features(ids, mask)
        torch.testing.assert_close(found, encoder.text_features(ids, mask))


@pytest.mark.parametrize(
    ("side", "setting", "value", "says"),
    [
        ("vision_config", "hidden_act", "relu", "activation is gelu and relu"),
        ("text_config", "intermediate_size", 100, "text MLPs have another width"),
        ("vision_config", "layer_norm_eps", 1e-6, "vision norms have epsilon 1e-06"),
    ],
)
def test_other_clips_are_refused(tmp_path, side, setting, value, says):
    encoder = encoders.load("tiny")
    setattr(getattr(encoder.model.config, side), setting, value)
    with pytest.raises(InputError, match=f"{says}.*hf or onnx"):
        write_open_clip(encoder, tmp_path)


def test_preparations_that_open_clip_lacks_are_refused(tmp_path):
    encoder = encoders.load("tiny")
    for change, says in (({"scaled_to": 73}, "scaled to 73 px"), ({"interpolation": "lanczos"}, "lanczos")):
        plain = encoders.load("tiny")
        plain.transform = replace(encoder.transform, **change)
        with pytest.raises(InputError, match=says):
            write_open_clip(plain, tmp_path)
    assert is_clip(encoder)
