import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from eotune.core.errors import InputError
from eotune.data.footprints import footprint
from eotune.data.scenes import write_dataset
from eotune.methods.adapted import load_image_model
from eotune.runs import predict as module
from eotune.runs.execute import execute
from eotune.runs.predict import predict
from eotune.runs.recipe import parse_recipe
from eotune.runs.saved_bands import read_saved_bands

CLASSES = ("Beach", "Forest", "Harbour")
SPECTRA = {"rgb": None, "sar": {"scaling": "sigma"}, "multispectral": {"percentiles": [1, 99]}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of each spectrum, and its images; the recipes differ in data and bands. Not to be changed."""
    made = {}

    def build(spectrum):
        if spectrum not in made:
            folder = tmp_path_factory.mktemp(spectrum)
            counts = {"train": 3, "validation": 2, "test": 2}
            captions = write_dataset(folder, counts, classes=CLASSES, spectrum=spectrum, size=140)
            data = {split: {"path": str(captions), "split": split} for split in counts}
            task = {"name": "long_tail", **data, "bands": SPECTRA[spectrum], "five_crops": True}
            training = {"batch_size": 8, "max_steps": 2}
            recipe = {"name": "small", "task": task, "encoder": "tiny", "method": {"name": "lora", "rank": 2}}
            execute(parse_recipe({**recipe, "training": training}), folder / "run")
            made[spectrum] = folder / "run"
        return made[spectrum]

    return build


def images_of(run, split="test"):
    rows = [json.loads(line) for line in (run.parent / "captions.jsonl").read_text().splitlines()]
    return [run.parent / row["image"] for row in rows if row["split"] == split]


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_test_split_is_predicted_as_the_run_predicted_it(runs, spectrum):
    run = runs(spectrum)
    with np.load(run / "predictions.npz") as kept:
        for classifier in ("probe", "balanced", "own", "views"):
            found = predict(run, images_of(run), classifier=classifier)
            assert found.problems == ()
            assert found.classes == CLASSES == tuple(kept["classes"])
            np.testing.assert_allclose(found.probabilities, kept[f"adapted_{classifier}"], atol=1e-3)  # kept as float16
            assert found.labels() == [CLASSES[k] for k in kept[f"adapted_{classifier}_predicted"]]
            assert found.counts() == {name: found.labels().count(name) for name in CLASSES}


@pytest.mark.parametrize(("spectrum", "bands"), [("sar", 2), ("multispectral", 13)])
def test_the_adapted_encoder_has_the_statistics_of_training(runs, spectrum, bands):
    run = runs(spectrum)
    encoder, reader = load_image_model(f"run:{run}"), read_saved_bands(run / "adapter")
    statistics = reader.statistics
    assert reader.config.model_dump(mode="json", include=SPECTRA[spectrum].keys()) == SPECTRA[spectrum]
    assert statistics.to_dict() == json.loads((run / "data.json").read_text())["bands"]
    assert encoder.channels == len(statistics.names) == bands
    assert (encoder.bands, encoder.transform.mean, encoder.transform.std) == (
        statistics.names, statistics.mean, statistics.std,
    )  # fmt: skip


def test_the_best_classifier_on_validation_is_the_default(runs):
    run = runs("rgb")
    described = json.loads((run / "classifiers/classifiers.json").read_text())
    best = max(described["classifiers"], key=lambda name: described["classifiers"][name]["validation_macro_f1"])
    found, named = predict(f"run:{run}", images_of(run)), predict(run, images_of(run), classifier=best)
    assert found.classifier == best
    assert (found.probabilities == named.probabilities).all()


def test_unreadable_images_are_named_and_the_rest_is_finished(runs, tmp_path):
    run = runs("sar")
    shutil.copytree(run.parent / "images", tmp_path / "images")
    whole = predict(run, [tmp_path / "images"], batch_size=4, footprints=True)
    assert len(whole) == 21
    (tmp_path / "images/Beach/beach_test_0.tif").write_bytes(b"")
    Image.new("RGB", (20, 20)).save(tmp_path / "images/Forest/picture.png")
    found = predict(run, [tmp_path / "images"], footprints=True)
    assert len(found.problems) == 2
    assert "beach_test_0.tif: the image is empty (0 bytes)" in found.problems[0]
    assert "picture.png: no band 'VV'" in found.problems[1]
    assert "red, green, blue; expected are VV, VH" in found.problems[1]
    kept = [number for number, path in enumerate(whole.images) if path.name != "beach_test_0.tif"]
    assert found.images == tuple(whole.images[one] for one in kept)
    np.testing.assert_allclose(found.probabilities, whole.probabilities[kept], atol=1e-6)
    assert [a.equals(whole.footprints[one]) for a, one in zip(found.footprints, kept, strict=True)] == [True] * 20
    assert all(one.equals(footprint(path)) for path, one in zip(found.images, found.footprints, strict=True))


def test_images_that_are_all_of_another_kind_are_refused(runs):
    with pytest.raises(InputError, match=r"6 problems\n.*expected are VV, VH"):
        predict(runs("sar"), images_of(runs("rgb")))
    with pytest.raises(InputError, match="no band 'B01'.*It has 2 bands: VV, VH; expected are B01, B02"):
        predict(runs("multispectral"), images_of(runs("sar"))[:1])


def test_features_that_overflow_are_problems(runs, monkeypatch):
    run, real = runs("rgb"), module.SavedModel.features

    def overflowing(first):
        def features(model, batch):
            found = real(model, batch)
            found[first:] = np.inf
            return found

        return features

    monkeypatch.setattr(module.SavedModel, "features", overflowing(4))
    found = predict(run, images_of(run))
    assert found.images == tuple(images_of(run)[:4])
    assert found.probabilities.shape == (4, 3)
    assert [problem.partition(":")[0] for problem in found.problems] == list(map(str, images_of(run)[4:]))
    monkeypatch.setattr(module.SavedModel, "features", overflowing(0))
    with pytest.raises(InputError, match="not finite in fp32"):
        predict(run, images_of(run))


def test_what_is_no_finished_run_of_classes_is_refused(runs, finished, tmp_path):
    run, image = runs("rgb"), images_of(runs("rgb"))[0]
    with pytest.raises(InputError, match="its task is retrieval, which has no classes; name a run of long_tail"):
        predict(finished, [image])
    with pytest.raises(InputError, match="gone: no such run directory"):
        predict(tmp_path / "gone", [image])
    with pytest.raises(InputError, match="is not a run directory"):
        predict(tmp_path, [image])
    with pytest.raises(InputError, match="unknown classifier.*'probes'; did you mean 'probe'"):
        predict(run, [image], classifier="probes")
    with pytest.raises(InputError, match="gone.tif: no such image"):
        predict(run, [tmp_path / "gone.tif"])
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/classifiers")
    with pytest.raises(InputError, match="is not finished .no classifiers.; finish it with: eotune run .* --resume"):
        predict(tmp_path / "run", [image])


@pytest.mark.parametrize("content", [None, "[]", '{"input": {}}', '{"input": {"band": 1}, "statistics": {}}'])
def test_damaged_band_statistics_are_refused(runs, tmp_path, content):
    run = tmp_path / "run"
    shutil.copytree(runs("sar"), run)
    (run / "adapter/bands.json").unlink()
    if content is not None:
        (run / "adapter/bands.json").write_text(content)
    with pytest.raises(InputError, match=r"bands\.json"):
        predict(run, images_of(runs("sar"))[:1])


@pytest.mark.parametrize("rewritten", [False, True])
def test_classifiers_of_another_encoder_are_refused(runs, tmp_path, rewritten):
    run = tmp_path / "run"
    shutil.copytree(runs("rgb"), run)
    saved = {"temperature": 1.0, "validation_macro_f1": 1.0, "l2": 1.0}
    described = json.loads((run / "classifiers/classifiers.json").read_text())
    described |= {"dim": 7, "best": "probe", "classifiers": {"probe": saved}}
    (run / "classifiers/classifiers.json").write_text(json.dumps(described))
    says = "probe.safetensors: holds no probe of 7 features and 3 classes"
    if rewritten:
        shapes = {"weight": (3, 7), "bias": 3, "mean": 7, "std": 7}
        save_file({name: np.ones(shape, np.float32) for name, shape in shapes.items()},
                  run / "classifiers/probe.safetensors")  # fmt: skip
        says = "classifiers of 7 numbers beside an adapter of 160"
    with pytest.raises(InputError, match=says):
        predict(run, images_of(runs("rgb"))[:1])
