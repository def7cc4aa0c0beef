import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from eotune import encoders
from eotune.core.errors import EotuneError, MissingExtraError
from eotune.encoders.to_onnx import OnnxTowers, check_packages, write_onnx

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="the extra onnx is not installed"
)
TEXTS = ["planes", "a long row of houses with red roofs beside the sea", ""]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bundled model at another size than its own, as graphs."""
    folder = tmp_path_factory.mktemp("onnx")
    encoder = encoders.load("tiny", image_size=96)
    images = [np.random.default_rng(i).integers(0, 256, (80 + i, 120, 3), dtype=np.uint8) for i in range(3)]
    expected = encoder.embed_images(images), encoder.embed_texts(TEXTS)
    write_onnx(encoder, folder)
    return folder, images, expected


@needs_onnx
@pytest.mark.parametrize("count", [1, 3])
def test_graphs_give_the_same_unit_embeddings_for_any_batch(written, count):
    folder, images, expected = written
    towers = OnnxTowers(folder)
    np.testing.assert_allclose(towers.embed_images(images[:count]), expected[0][:count], atol=1e-5)
    np.testing.assert_allclose(towers.embed_texts(TEXTS[:count]), expected[1][:count], atol=1e-5)


@needs_onnx
def test_graphs_say_what_they_take_and_nothing_of_this_machine(written):
    import onnxruntime

    folder, _, _ = written
    inputs = {
        name: {one.name: (one.type, one.shape) for one in onnxruntime.InferenceSession(folder / name).get_inputs()}
        for name in ("image.onnx", "text.onnx")
    }
    kind, shape = inputs["image.onnx"]["pixels"]
    assert (kind, shape[1:]) == ("tensor(float)", [3, 96, 96])
    assert isinstance(shape[0], str)  # a name: free
    assert {name: kind for name, (kind, _) in inputs["text.onnx"].items()} == dict.fromkeys(
        ["input_ids", "attention_mask"], "tensor(int64)"
    )
    assert all(isinstance(side, str) for side in inputs["text.onnx"]["input_ids"][1])
    assert all(b"site-packages" not in (folder / name).read_bytes() for name in inputs)
    said = json.loads((folder / "preprocessing.json").read_text())
    assert said["images"]["size"] == 96
    assert said["texts"] == {"max_tokens": 40, "padding": "longest"}
    assert said["logit_bias"] is None


@needs_onnx
def test_large_weights_lie_beside_the_graph(tmp_path, monkeypatch):
    monkeypatch.setattr("eotune.encoders.to_onnx._ONE_FILE", 1000)
    encoder = encoders.load("tiny")
    write_onnx(encoder, tmp_path)
    assert (tmp_path / "image.onnx.data").stat().st_size > 1e6
    expected = encoder.embed_texts(TEXTS)
    np.testing.assert_allclose(OnnxTowers(tmp_path).embed_texts(TEXTS), expected, atol=1e-5)


@needs_onnx
def test_a_computation_that_cannot_be_followed_is_one_line(tmp_path):
    class Undecided(torch.nn.Module):
        def forward(self, features):
            return features if features.sum() > 0 else -features  # depends on values, not on shapes

    encoder = encoders.load("tiny")
    encoder.model.visual_projection = torch.nn.Sequential(encoder.model.visual_projection, Undecided())
    with pytest.raises(EotuneError, match=r"image tower: torch cannot write this model as ONNX \(") as caught:
        write_onnx(encoder, tmp_path)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'eotune\[onnx\]'"):
        check_packages()
