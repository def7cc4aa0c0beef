import json
import re
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from transformers import ViTConfig, ViTModel

from eotune.core.errors import EotuneError, InputError
from eotune.data.band_statistics import BandInput, compute_band_statistics
from eotune.data.scenes import render, write_dataset, write_scene
from eotune.encoders.grouped import GroupedImageEncoder, GroupedViT
from eotune.encoders.image import HFImageEncoder
from eotune.encoders.preprocess import ImageTransform
from eotune.methods.adapted import load_image_model, save_adapted
from eotune.metrics.linear_probe import Probe
from eotune.runs.execute import execute
from eotune.runs.export import export
from eotune.runs.recipe import parse_recipe
from eotune.runs.saved_bands import BANDS, read_saved_bands, save_bands
from eotune.runs.saved_classifiers import read_classifiers, save_classifiers
from eotune.tasks.heads import make_head
from eotune.tasks.long_tail_evaluation import ClassScores
from eotune.tasks.long_tail_objective import LongTailObjectiveConfig

CLASSES = ("Beach", "Forest", "Harbour")
CARD = {"README.md", "classes.json"}
needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="the extra onnx is not installed"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of three classes; not to be changed."""
    folder = tmp_path_factory.mktemp("classes")
    counts = {"train": 3, "validation": 2, "test": 2}
    captions = write_dataset(folder, counts, classes=CLASSES, size=32)
    task = {"name": "long_tail", **{split: {"path": str(captions), "split": split} for split in counts}}
    recipe = {"name": "small", "task": task, "encoder": "tiny", "method": {"name": "lora", "rank": 2}}
    execute(parse_recipe({**recipe, "training": {"batch_size": 8, "max_steps": 2}}), folder / "run")
    return folder / "run"


@pytest.fixture
def vit(tmp_path):
    """The name of a small ViT that was trained at 32 pixels."""
    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**small, image_size=32, patch_size=8), add_pooling_layer=False)
    transform = ImageTransform(32, mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.1))
    HFImageEncoder(model, transform, "cls").save(tmp_path / "vit")
    return f"hf:{tmp_path / 'vit'}"


@pytest.fixture
def run_of(trained, moved, vit, tmp_path, monkeypatch):
    """Make the run one of another method, encoder and classifiers, with every trained weight off its start."""
    monkeypatch.chdir(tmp_path)

    def make(method="lora", name=vit, *, best="balanced", loss="cross_entropy", statistics=None, size=48, **settings):
        run = tmp_path / "run"
        shutil.copytree(trained, run, ignore=shutil.ignore_patterns("adapter", "classifiers"))
        encoder = load_image_model(name, size, bands=statistics and statistics.names)
        if statistics:
            encoder.normalise_by(statistics.mean, statistics.std)
        save_adapted(run, moved(encoder, method, **settings), encoder)
        if statistics:
            save_bands(run / "adapter", BandInput(), statistics)
        save_classifiers(
            run, classifiers(encoder.dim, best, loss), classes=CLASSES, dim=encoder.dim,
            objective=LongTailObjectiveConfig(loss=loss),
        )  # fmt: skip
        return run

    return make


def classifiers(dim, best, loss):
    """Random ones; the last class of the probes had no training image."""
    rng = np.random.default_rng(0)
    weight, mean, std = rng.normal(size=(3, dim)), rng.normal(size=dim), rng.uniform(0.3, 2, size=dim)
    weight[2] = 0
    parts = [one.astype(np.float32) for one in (weight, np.array([0.5, -0.2, -np.inf]), mean, std)]
    probe = Probe(*parts, l2=0.1)
    head = make_head(LongTailObjectiveConfig(loss=loss), dim, 3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    scores = {"probe": probe, "balanced": probe.balanced([30, 2, 0]), "own": head, "views": head}
    places = {"probe": 0.5, "balanced": 0.6, "own": 0.4, "views": 0.3} | {best: 0.9}
    return {name: ClassScores(score, 0.7, places[name]) for name, score in scores.items()}


def executed(folder):
    """Run the code of a README.md, which reads scene.png or scene.tif; return its variables."""
    names, text = {}, (folder / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    exec(compile(block, str(folder), "exec"), names)
    return names


def picture(shape=(70, 120, 3)):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save("scene.png")
    return pixels


def check(run, folder, pixels, classifier):
    """Hold what the README's code computes against the run's own encoder and classifier."""
    names, encoder = executed(folder), load_image_model(f"run:{run}")
    features = encoder.embed_images([pixels])
    probabilities = read_classifiers(run)[1][classifier].probabilities(features)
    np.testing.assert_allclose(np.asarray(names["features"]), features, atol=1e-4)
    np.testing.assert_allclose(np.asarray(names["probabilities"]), probabilities, atol=1e-4)
    assert names["classes"] == list(CLASSES)


FORMATS = ["hf", "peft", pytest.param("onnx", marks=needs_onnx)]
DEPRECATED = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@DEPRECATED
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("method", ["lora", "deblora"])
def test_the_code_gives_the_runs_features_and_probabilities(run_of, tmp_path, to, method):
    run, pixels = run_of(method, rank=2), picture()
    summary = export(run, to, tmp_path / "out")
    check(run, tmp_path / "out", pixels, "balanced")
    assert summary["max_difference"] < 1e-5
    assert summary["classifier"] == "balanced"
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert summary["files"].keys() == files
    theirs = {
        "hf": {"classifier.safetensors", "config.json", "model.safetensors", "preprocessor_config.json"},
        "peft": {"classifier.safetensors", "adapter_config.json", "adapter_model.safetensors"},
        "onnx": {"image.onnx", "preprocessing.json"},
    }[to]
    assert files == CARD | theirs
    said = json.loads((tmp_path / "out/classes.json").read_text())
    assert said == {"classes": list(CLASSES), "classifier": "balanced"}
    readme = (tmp_path / "out/README.md").read_text()
    assert "class-balanced probe, with the features' standardisation" in readme
    if to == "hf":
        assert json.loads((tmp_path / "out/config.json").read_text())["image_size"] == 48


@DEPRECATED
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("name", ["tiny", "{vit}#mean"])
def test_other_features_of_an_image(run_of, vit, tmp_path, to, name):
    run, pixels = run_of("lora", name.format(vit=vit), size=96, best="own"), picture()
    export(run, to, tmp_path / "out")
    check(run, tmp_path / "out", pixels, "own")


def test_a_folded_probe_is_the_probe(run_of, tmp_path):
    run = run_of("frozen")
    export(run, "hf", tmp_path / "out")
    folded = load_file(tmp_path / "out/classifier.safetensors")
    features = np.random.default_rng(1).normal(size=(50, 24)).astype(np.float32)
    odds = np.exp(features @ folded["weight"].T + folded["bias"])
    expected = read_classifiers(run)[1]["balanced"].probabilities(features)
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), expected, atol=1e-5)
    assert (expected[:, 2] == 0).all()
    assert expected[:, :2].std() > 0.1


@pytest.mark.parametrize(("loss", "best"), [("sade", "own"), ("reslt", "own"), ("cross_entropy", "views")])
def test_what_is_no_linear_map_gives_way_to_the_best_that_is(run_of, tmp_path, loss, best):
    run, pixels = run_of("lora", loss=loss, best=best), picture()
    assert export(run, "hf", tmp_path / "out")["classifier"] == "balanced"
    named = "own head, five crops" if best == "views" else "own head"
    assert f"Its best on validation, the {named}, is no linear map" in (tmp_path / "out/README.md").read_text()
    check(run, tmp_path / "out", pixels, "balanced")


@pytest.mark.parametrize("to", ["hf", pytest.param("onnx", marks=needs_onnx)])
def test_bands_come_with_how_they_are_scaled(run_of, tmp_path, to):
    write_scene(tmp_path / "scene.tif", render("Harbour", 0, size=60), spectrum="sar")
    statistics = compute_band_statistics([tmp_path / "scene.tif"])
    run = run_of("lora", statistics=statistics, patch_embedding="trained")
    export(run, to, tmp_path / "out")
    assert (tmp_path / "out" / BANDS).read_bytes() == (run / "adapter" / BANDS).read_bytes()
    assert "`low` becomes 0 and its `high` 255" in (tmp_path / "out/README.md").read_text()
    pixels = read_saved_bands(run / "adapter")(tmp_path / "scene.tif")
    assert pixels.shape == (60, 60, 2)
    check(run, tmp_path / "out", pixels, "balanced")


@pytest.mark.parametrize("to", ["hf", pytest.param("onnx", marks=needs_onnx)])
def test_groups_of_bands_keep_their_own_layout(run_of, tmp_path, geotiff, to):
    values = np.random.default_rng(0).integers(0, 4000, (4, 60, 60)).astype(np.uint16)
    statistics = compute_band_statistics([geotiff(values, name="scene.tif")])
    small = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTConfig(**small, image_size=32, patch_size=8, layer_norm_eps=1e-6)
    torch.manual_seed(0)
    model = GroupedViT(config, ((0, 1, 2), (3,)), 32)
    transform = ImageTransform(32, mean=(0.0,) * 4, std=(1.0,) * 4)
    GroupedImageEncoder(model, transform, "cls").save(tmp_path / "satmae")
    run = run_of("lora", f"satmae:{tmp_path}/satmae/model.safetensors#mean", statistics=statistics, size=64)
    export(run, to, tmp_path / "out")
    check(run, tmp_path / "out", read_saved_bands(run / "adapter")(tmp_path / "scene.tif"), "balanced")
    with pytest.raises(InputError, match=r"no class of transformers; what works: --format hf or onnx$"):
        export(run, "peft", tmp_path / "other")


@pytest.mark.parametrize(
    ("made", "to", "says"),
    [
        ({}, "open_clip", r"only models of images and texts have .*--format hf or peft or onnx$"),
        ({"method": "adaptformer"}, "hf", r"method 'adaptformer' changes the computation.*--format onnx$"),
        ({"method": "adaptformer"}, "peft", r"method 'adaptformer' is not LoRA.*--format onnx$"),
        ({"method": "full"}, "peft", r"method 'full' is not LoRA.*--format hf or onnx$"),
        ({"name": "tiny#projected"}, "hf", r"a projection has no place in this layout.*--format onnx$"),
    ],
)
def test_formats_that_do_not_fit_name_those_that_do(run_of, tmp_path, made, to, says):
    run = run_of(**{"method": "lora", "size": None, **made})
    with pytest.raises(InputError, match=rf"cannot be exported to {to}: {says}"):
        export(run, to, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "vit"}


def test_peft_brings_no_layer_for_other_bands(run_of, tmp_path):
    write_scene(tmp_path / "scene.tif", render("Harbour", 0, size=60), spectrum="sar")
    run = run_of("lora", statistics=compute_band_statistics([tmp_path / "scene.tif"]))
    with pytest.raises(InputError, match=r"first layer was made for the bands VV, VH.*--format hf or onnx$"):
        export(run, "peft", tmp_path / "out")


@needs_onnx
def test_onnx_takes_what_no_other_format_does(run_of, tmp_path):
    run, pixels = run_of("adaptformer"), picture()
    export(run, "onnx", tmp_path / "out")
    check(run, tmp_path / "out", pixels, "balanced")


def test_an_export_that_computes_otherwise_is_not_kept(run_of, tmp_path, monkeypatch):
    run, save = run_of("full"), HFImageEncoder.save

    def broken(self, folder):
        with torch.no_grad():
            self.model.layernorm.bias += 1e-2
        save(self, folder)

    monkeypatch.setattr(HFImageEncoder, "save", broken)
    with pytest.raises(EotuneError, match=r"read back from hf, features or probabilities differ .* nothing was kept"):
        export(run, "hf", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "vit"}


def test_a_run_without_its_files_is_refused(run_of, tmp_path):
    run = run_of("frozen")
    (run / "classes.csv").rename(tmp_path / "kept.csv")
    with pytest.raises(InputError, match=r"not the directory of a finished run \(no classes.csv\)"):
        export(run, "hf", tmp_path / "out")
    (run / "classes.csv").write_text("nothing\n")
    with pytest.raises(InputError, match="what a model card needs"):
        export(run, "hf", tmp_path / "out")
    (tmp_path / "kept.csv").rename(run / "classes.csv")
    shutil.rmtree(run / "classifiers")
    with pytest.raises(InputError, match="is not finished \\(no classifiers\\)"):
        export(run, "hf", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "vit"}
