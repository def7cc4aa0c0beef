"""What an exported README.md says runs as it stands, and gives the run's own embeddings."""

import re
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from eotune import encoders
from eotune.encoders.preprocess import ImageTransform
from eotune.methods.adapted import load_adapted
from eotune.runs.export import export
from eotune.runs.export_readme import prepare

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="the extra onnx is not installed"
)
TEXT = "white planes in an airport"


@pytest.fixture
def picture(tmp_path, monkeypatch):
    """A file scene.png in the working directory."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (70, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("scene.png")
    return pixels


def executed(readme):
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        exec(compile(block, str(readme), "exec"), names)
    return names


def unit(embeddings):
    values = np.asarray(embeddings)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


@pytest.mark.parametrize("to", ["hf", pytest.param("onnx", marks=needs_onnx)])
def test_the_code_gives_the_runs_embeddings(run_of, tmp_path, picture, to):
    run = run_of("lora")
    export(run, to, tmp_path / "out")
    names = executed(tmp_path / "out" / "README.md")
    encoder = load_adapted(run)
    np.testing.assert_allclose(unit(names["image_embeddings"]), encoder.embed_images([picture]), atol=1e-4)
    np.testing.assert_allclose(unit(names["text_embeddings"]), encoder.embed_texts([TEXT]), atol=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_loads_onto_a_base_in_a_directory(run_of, tmp_path, picture):
    encoders.load("tiny").save(tmp_path / "base")
    run = run_of("lora", f"hf:{tmp_path / 'base'}", image_size=96, heads=True)
    export(run, "peft", tmp_path / "out")
    readme = tmp_path / "out" / "README.md"
    assert "library_name: peft" in readme.read_text()
    model = executed(readme)["model"].eval()
    assert "96 x 96 pixels, not the base's own size: pass `interpolate_pos_encoding=True`" in readme.read_text()
    encoder = load_adapted(run)
    pixels = encoder.transform.normalise(torch.from_numpy(encoder.transform(picture))[None])
    with torch.inference_mode():
        images = model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output
        texts = model.get_text_features(**encoder.tokenize([TEXT])).pooler_output
    np.testing.assert_allclose(unit(images), encoder.embed_images([picture]), atol=1e-4)
    np.testing.assert_allclose(unit(texts), encoder.embed_texts([TEXT]), atol=1e-4)


@pytest.mark.parametrize(
    "transform",
    [
        ImageTransform(32),
        ImageTransform(32, centre="round"),
        ImageTransform(32, "squash", "bilinear"),
        ImageTransform(28, scaled_to=32, interpolation="lanczos"),
    ],
    ids=lambda transform: f"{transform.resize}-{transform.centre}-{transform.scaled_to}",
)
@pytest.mark.parametrize("shape", [(70, 121), (121, 70), (32, 32)])
def test_the_code_for_images_does_what_the_transform_does(transform, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    names = {"image": Image.fromarray(pixels), "Image": Image}
    exec(prepare(transform), names)
    np.testing.assert_array_equal(np.asarray(names["image"]).transpose(2, 0, 1), transform(pixels))


def test_open_clip_says_how_and_that_alone(run_of, tmp_path):
    export(run_of("linear"), "open_clip", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert 'create_model_from_pretrained("local-dir:out")' in text
    assert "library_name: open_clip" in text
    assert "load_model" not in text
    assert "one pixel beside" in text  # the run's own preprocessing is transformers'
