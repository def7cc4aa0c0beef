import json

import pytest
import torch

from eotune.core.errors import InputError
from eotune.encoders.base import DualEncoder, ImageEncoder
from eotune.methods import create, load_adapted, load_image_model, load_model, save_adapted
from eotune.methods.adapted import load_adapted_method, read_description


@pytest.fixture
def known(monkeypatch, make_clip, make_composed):
    """Stand in for the encoders on disk: the two small ones, by their names."""

    def load(name, *, image_size=None):
        return {"hf:small": make_clip, "composed:small": make_composed}[name]()

    monkeypatch.setattr("eotune.encoders.by_name.load", load)
    return load


@pytest.fixture
def run(known, tmp_path, perturb):
    """A run directory with an adapter of LoRA, whose weights have moved."""
    encoder, method = known("hf:small"), create({"name": "lora", "rank": 2})
    method.apply(encoder, seed=7)
    perturb(encoder)
    save_adapted(tmp_path / "run", method, encoder)
    return tmp_path / "run"


def edit(run, **changes):
    path = run / "adapter" / "eotune.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_description_holds_what_it_takes_to_rebuild(run, known):
    folder, description = read_description(run)
    assert folder == run / "adapter"
    assert description.encoder == "hf:small"
    assert description.fingerprint == known("hf:small").fingerprint()
    assert (description.image_size, description.seed, description.method["rank"]) == (16, 7, 2)


def test_a_run_loads_from_either_directory_and_by_name(run, pixels):
    encoders = [
        load_adapted(run),
        load_adapted(run / "adapter"),
        load_model(f"run:{run}"),
        load_model(f"run:{run}", image_size=16),
        load_adapted_method(run)[0],
    ]
    outputs = [encoder.image_features(pixels) for encoder in encoders]
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    assert encoders[2].name == f"run:{run}"
    assert not torch.equal(outputs[0], load_model("hf:small").image_features(pixels))


def test_the_method_that_comes_along_can_merge(run, pixels):
    encoder, method = load_adapted_method(run)
    expected = encoder.image_features(pixels)
    assert method.merge(encoder)
    torch.testing.assert_close(encoder.image_features(pixels), expected, atol=1e-5, rtol=1e-4)


def test_a_frozen_method_over_a_run_loads_back(run, tmp_path, pixels):
    encoder, method = load_model(f"run:{run}"), create({"name": "frozen"})
    method.apply(encoder, seed=0)
    save_adapted(tmp_path / "second", method, encoder)
    assert torch.equal(load_adapted(tmp_path / "second").image_features(pixels), encoder.image_features(pixels))


def test_another_image_size_is_refused(run):
    with pytest.raises(InputError, match="was adapted at 16 px, not 32; leave the image size out"):
        load_model(f"run:{run}", image_size=32)


def test_a_directory_without_adapter_is_named(tmp_path):
    with pytest.raises(InputError, match=r"is not an adapted model \(no adapter/eotune.json\); name a run directory"):
        load_adapted(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such directory"):
        load_model(f"run:{tmp_path}/nowhere")


def test_a_changed_base_encoder_is_refused(run, monkeypatch, make_clip):
    def load(name, *, image_size=None):
        encoder = make_clip()
        with torch.no_grad():
            encoder.model.visual_projection.weight[0, 0] += 1e-3
        return encoder

    monkeypatch.setattr("eotune.encoders.by_name.load", load)
    with pytest.raises(InputError, match="was trained for 'hf:small' with fingerprint .* now has .*; restore"):
        load_adapted(run)


def test_an_adapter_of_another_encoder_is_refused(run, known):
    edit(run, encoder="composed:small")
    with pytest.raises(InputError, match="was trained for 'composed:small' with fingerprint"):
        load_adapted(run)
    edit(run, encoder="composed:small", fingerprint=known("composed:small").fingerprint())
    with pytest.raises(InputError, match="adapter/image/adapter_model.safetensors: no such file"):
        load_adapted(run)


def test_weights_of_another_encoder_are_refused(run, make_clip, tmp_path):
    method, other = create({"name": "lora", "rank": 2}), make_clip(depth=(2, 2))
    method.apply(other, seed=0)
    method.save(other, run / "adapter")
    with pytest.raises(InputError, match=r"adapter_model.safetensors: does not fit the encoder .*: missing "):
        load_adapted(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprints": ""}, "eotune.json: 'fingerprints' is not a known key; did you mean 'fingerprint'"),
        ({"method": {"name": "lora", "rnak": 2}}, "eotune.json: 'method.rnak' is not a known key; did you mean 'rank'"),
        ({"method": {"name": "lorra"}}, "unknown method 'lorra'; did you mean 'lora'"),
        ({"method": {}}, "'method.name' is missing"),
        ({"seed": "x"}, "eotune.json: 'seed'"),
    ],
)
def test_wrong_descriptions_are_explained(run, changes, message):
    edit(run, **changes)
    with pytest.raises(InputError, match=message):
        load_adapted(run)


@pytest.mark.parametrize("content", ["[]", "{", ""])
def test_a_description_that_is_no_object_is_refused(run, content):
    (run / "adapter" / "eotune.json").write_text(content)
    with pytest.raises(InputError, match="eotune.json: (holds no JSON object|not valid JSON)"):
        load_adapted(run)


@pytest.mark.parametrize("name", ["adapter.safetensors", "adapter_model.safetensors"])
def test_missing_and_pickled_weights_are_refused(run, name):
    path = run / "adapter" / name
    path.unlink()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        load_adapted(run)
    torch.save({}, path)
    with pytest.raises(InputError, match=f"{name}: is a pickle"):
        load_adapted(run)


def test_a_write_that_is_cut_short_does_not_load(run, known, monkeypatch):
    def full_disk(path, tensors):
        raise OSError("No space left on device")

    encoder, method = known("hf:small"), create({"name": "lora"})
    method.apply(encoder, seed=0)
    monkeypatch.setattr("eotune.methods.lora.write_weights", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_adapted(run, method, encoder)
    with pytest.raises(InputError, match="is not an adapted model"):
        load_adapted(run)


def test_saving_before_applying_is_a_programming_error(known, tmp_path):
    with pytest.raises(ValueError, match="comes before save_adapted"):
        save_adapted(tmp_path, create({"name": "lora"}), known("hf:small"))


@pytest.fixture
def image_run(vit_directory, tmp_path, perturb):
    """A run directory with an adapted image encoder."""
    encoder, method = load_image_model(f"hf:{vit_directory}", image_size=24), create({"name": "lora", "rank": 2})
    method.apply(encoder, seed=7)
    perturb(encoder)
    save_adapted(tmp_path / "run", method, encoder)
    return tmp_path / "run", encoder


def test_an_adapted_image_encoder_loads_by_name(image_run, pixels):
    run, encoder = image_run
    description = read_description(run)[1]
    assert (description.kind, description.channels, description.bands) == ("image", 3, None)
    for loaded in (load_image_model(f"run:{run}"), load_image_model(f"run:{run}", 24), load_adapted(run)):
        assert isinstance(loaded, ImageEncoder)
        assert (loaded.name, loaded.transform.size) == (f"run:{run}", 24)
        assert torch.equal(loaded.image_features(pixels), encoder.image_features(pixels))


def test_an_image_encoder_is_no_dual_encoder(image_run):
    run, _ = image_run
    with pytest.raises(InputError, match="adapts an image encoder, which reads no text"):
        load_model(f"run:{run}")
    with pytest.raises(InputError, match="was adapted at 24 px, not 16"):
        load_image_model(f"run:{run}", image_size=16)


def test_descriptions_of_before_are_of_dual_encoders(run, pixels):
    path = run / "adapter" / "eotune.json"
    values = json.loads(path.read_text())
    assert [values.pop(key) for key in ("kind", "channels", "bands")] == ["dual", 3, None]
    path.write_text(json.dumps(values))
    assert read_description(run)[1].kind == "dual"
    assert isinstance(load_adapted(run), DualEncoder)


def adapted_tiny(directory, perturb, **method):
    encoder, change = load_model("tiny"), create(method)
    change.apply(encoder, seed=0)
    perturb(encoder, 0.05)
    save_adapted(directory, change, encoder)
    return encoder


def test_the_image_tower_of_an_adapted_dual_encoder(tmp_path, perturb):
    encoder = adapted_tiny(tmp_path, perturb, name="lora")
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    image = load_image_model(f"run:{tmp_path}")
    with torch.no_grad():
        expected = encoder.model.vision_model(pixels).pooler_output
        torch.testing.assert_close(image.image_features(pixels), expected, atol=1e-5, rtol=1e-4)
    assert (image.name, image.pretrained_parameters) == (f"run:{tmp_path}", None)


def test_an_image_tower_that_shares_adapters_with_text_is_refused(tmp_path, perturb):
    adapted_tiny(tmp_path, perturb, name="harma", bottleneck=16)
    with pytest.raises(InputError, match="method 'harma' cannot be merged into the image tower of 'run:"):
        load_image_model(f"run:{tmp_path}")


@pytest.mark.parametrize("patch_embedding", ["frozen", "trained"])
def test_an_adapted_encoder_of_other_bands_remembers_them(vit_directory, tmp_path, perturb, patch_embedding):
    encoder = load_image_model(f"hf:{vit_directory}", bands=["vv", "vh", "red", "nir"])
    encoder.normalise_by([0.1, 0.2, 0.3, 0.4], [0.1, 0.3, 0.2, 0.2])
    first = encoder.get_submodule(encoder.towers["image"].patch_embedding).weight.clone()
    method = create({"name": "lora", "patch_embedding": patch_embedding})
    method.apply(encoder, seed=0)
    perturb(encoder)
    save_adapted(tmp_path, method, encoder)
    loaded = load_image_model(f"run:{tmp_path}", channels=4)
    assert (loaded.bands, loaded.transform) == (("vv", "vh", "red", "nir"), encoder.transform)
    pixels = torch.randn(2, 4, 16, 16)
    assert torch.equal(loaded.image_features(pixels), encoder.image_features(pixels))
    now = loaded.get_submodule(loaded.towers["image"].patch_embedding).weight
    assert torch.equal(now, first) == (patch_embedding == "frozen")


@pytest.mark.parametrize("asked", [{"channels": 4}, {"bands": ["red", "green", "blue"]}])
def test_other_bands_than_it_was_adapted_for_are_refused(image_run, asked):
    with pytest.raises(InputError, match="was adapted for 3 bands, not .*; leave channels and bands out"):
        load_image_model(f"run:{image_run[0]}", **asked)
