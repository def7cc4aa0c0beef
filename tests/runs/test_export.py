import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from eotune import encoders
from eotune.core.errors import EotuneError, InputError
from eotune.encoders.hf import HFDualEncoder
from eotune.methods.adapted import load_adapted
from eotune.methods.by_name import create
from eotune.runs.export import export

MERGED = ["frozen", "heads", "full", "lora", "linear"]
KEPT = ["harma", "adapter", "adaptformer", "clip_adapter"]
TEXTS = ["white planes", "a long row of houses with red roofs beside the sea"]
needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="the extra onnx is not installed"
)


@pytest.fixture
def pictures():
    return [np.random.default_rng(i).integers(0, 256, (50 + i, 90, 3), dtype=np.uint8) for i in range(3)]


def plain_embeddings(folder, pictures, texts, *, padding=True):
    """Embed by transformers alone."""
    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor([Image.fromarray(one) for one in pictures], return_tensors="pt")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    length = model.config.text_config.max_position_embeddings
    tokens = tokenizer(texts, padding=padding, truncation=True, max_length=length, return_tensors="pt")
    with torch.inference_mode():
        found = model.get_image_features(**pixels), model.get_text_features(input_ids=tokens.input_ids)
    return [torch.nn.functional.normalize(one.pooler_output, dim=-1).numpy() for one in found]


@pytest.mark.parametrize("method", MERGED)
def test_transformers_alone_gives_the_runs_embeddings(run_of, tmp_path, pictures, method):
    run = run_of(method, image_size=96 if method == "full" else None)
    summary = export(run, "hf", tmp_path / "out")
    encoder = load_adapted(run)
    images, texts = plain_embeddings(tmp_path / "out", pictures, TEXTS)
    np.testing.assert_allclose(images, encoder.embed_images(pictures), atol=1e-4)
    np.testing.assert_allclose(texts, encoder.embed_texts(TEXTS), atol=1e-4)
    if method != "frozen":
        assert np.abs(texts - encoders.load("tiny").embed_texts(TEXTS)).max() > 0.01
    assert summary["max_difference"] < 1e-5
    assert summary["files"].keys() == {path.name for path in (tmp_path / "out").iterdir()}
    # What is on disk is a pretrained encoder like any other.
    create({"name": "lora"}).apply(encoders.load(f"hf:{tmp_path / 'out'}"), seed=0)


def test_siglip_keeps_its_padding(run_of, tmp_path, pictures, siglip):
    run = run_of("lora", siglip)
    export(run, "hf", tmp_path / "out")
    encoder = load_adapted(run)
    images, texts = plain_embeddings(tmp_path / "out", pictures, TEXTS, padding="max_length")
    np.testing.assert_allclose(images, encoder.embed_images(pictures), atol=1e-4)
    np.testing.assert_allclose(texts, encoder.embed_texts(TEXTS), atol=1e-4)


def test_a_composed_encoder_keeps_its_layout(run_of, tmp_path, pictures, composed):
    run = run_of("lora", composed, heads=True)
    export(run, "hf", tmp_path / "out")
    found = encoders.load(f"composed:{tmp_path / 'out'}")
    np.testing.assert_allclose(found.embed_images(pictures), load_adapted(run).embed_images(pictures), atol=1e-4)
    assert {"vision", "text", "projection.safetensors", "config.json", "README.md"} == {
        path.name for path in (tmp_path / "out").iterdir()
    }


@pytest.mark.parametrize("method", KEPT)
def test_methods_that_change_the_computation_are_refused(run_of, tmp_path, method):
    run = run_of(method)
    for to in ("hf", "open_clip"):
        with pytest.raises(InputError, match=rf"{to}: method '{method}' changes the computation.*: --format onnx$"):
            export(run, to, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_formats_that_do_not_fit_name_those_that_do(run_of, tmp_path, composed):
    run = run_of("heads", composed)
    with pytest.raises(InputError, match=r"only CLIP models have an open_clip form.*--format hf or onnx$"):
        export(run, "open_clip", tmp_path / "out")
    with pytest.raises(InputError, match=r"method 'heads' is not LoRA.*--format hf or onnx$"):
        export(run, "peft", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_onnx
@pytest.mark.parametrize("kind", ["composed", "siglip"])
def test_onnx_takes_what_no_other_format_does(run_of, tmp_path, pictures, request, kind):
    from eotune.encoders.to_onnx import OnnxTowers

    run = run_of("harma", request.getfixturevalue(kind), bottleneck=16)
    summary = export(run, "onnx", tmp_path / "out")
    assert summary["max_difference"] < 1e-5
    assert {"image.onnx", "text.onnx", "preprocessing.json", "tokenizer.json", "README.md"} <= summary["files"].keys()
    towers = OnnxTowers(tmp_path / "out")
    np.testing.assert_allclose(
        towers.embed_images(pictures[:1]), load_adapted(run).embed_images(pictures[:1]), atol=1e-4
    )
    np.testing.assert_allclose(towers.embed_texts(TEXTS), load_adapted(run).embed_texts(TEXTS), atol=1e-4)


def test_an_export_that_embeds_otherwise_is_not_kept(run_of, tmp_path, monkeypatch):
    run = run_of("heads")
    save = HFDualEncoder.save
    monkeypatch.setattr(HFDualEncoder, "save", lambda self, folder: save(encoders.load("tiny"), folder))
    with pytest.raises(EotuneError, match=r"read back from hf, embeddings differ .* nothing was kept"):
        export(run, "hf", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_wrong_input_is_one_line_and_leaves_nothing(run_of, tmp_path):
    run = run_of("heads")
    (tmp_path / "there").mkdir()
    cases = [
        (run, "onxx", "out", "unknown export format 'onxx'; did you mean 'onnx'"),
        (tmp_path / "none", "hf", "out", "no such directory"),
        (tmp_path / "there", "hf", "out", "is not an adapted model"),
        (run / "adapter", "hf", "out", r"not the directory of a finished run \(no recipe.yaml\)"),
        (run, "hf", "there", "is there already"),
    ]
    for source, to, out, says in cases:
        with pytest.raises(InputError, match=says) as caught:
            export(source, to, tmp_path / out)
        assert "\n" not in str(caught.value)
    (run / "summary.json").write_text(json.dumps(["no", "summary"]))
    with pytest.raises(InputError, match="what a model card needs"):
        export(run, "hf", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "there"}
