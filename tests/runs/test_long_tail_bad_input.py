"""Labelled sets as they are found: what can be worked with is, and the rest is refused by name before training."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from eotune.core.errors import InputError
from eotune.runs.execute import execute
from eotune.runs.recipe import parse_recipe

COUNTS = {split: dict.fromkeys("ABC", count) for split, count in (("train", 5), ("validation", 2), ("test", 2))}
GREY = {"A": 20, "B": 90, "C": 160, "D": 60}
NODATA = 9


@pytest.fixture
def folder(tmp_path):
    """Make class folders of noise, brighter from class to class."""
    random = np.random.default_rng(0)

    def make(changes=None):
        counts = copy.deepcopy(COUNTS)
        for split, some in (changes or {}).items():
            counts[split] |= some
        for split, classes in counts.items():
            for name, count in classes.items():
                if count is not None:
                    (tmp_path / split / name).mkdir(parents=True)
                for number in range(count or 0):
                    pixels = random.integers(0, 60, (40, 40, 3), dtype=np.uint8) + np.uint8(GREY[name])
                    Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
        return tmp_path

    return make


@pytest.fixture
def run(tmp_path):
    def of(folder, settings=None):
        data = {split: {"path": str(folder / split)} for split in COUNTS}
        values = {
            "name": "found", "task": {"name": "long_tail", **data}, "encoder": {"name": "tiny", "image_size": 32},
            "method": {"name": "deblora", **({"clusters": 3, "rho": 2} if settings is None else settings)},
            "training": {"max_steps": 4, "batch_size": 4, "augmentation": {"randaugment": None}},
        }  # fmt: skip
        execute(parse_recipe(values), tmp_path / "run")
        return {row["metric"]: row["value"] for row in json.loads((tmp_path / "run" / "metrics.json").read_text())}

    return of


@pytest.mark.parametrize(
    "changes",
    [{"train": {"C": 1}}, {"validation": {"C": 1}}, {"test": {"C": None}}, {"validation": {"C": None}}],
    ids=["one to train", "one to validate", "none to test", "none to validate"],
)
def test_rare_and_missing_classes_are_worked_with(folder, run, changes):
    metrics = run(folder(changes))
    assert 0 <= metrics["probe_macro_f1"] <= 100
    assert 0 <= metrics["balanced_macro_f1"] <= 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"C": 0}}, "train: C: no image in this class folder"),
        ({"test": {"C": 0}}, "test: C: no image in this class folder"),
        ({"train": {"C": None}}, "test: C: unknown class 'C' .*; known are 'A', 'B'"),
        ({"test": {"D": 2}}, "test: D: unknown class 'D' .*; known are 'A', 'B', 'C'"),
    ],
    ids=["empty in train", "empty in test", "not in train", "of the test alone"],
)
def test_classes_that_cannot_be_learned_are_refused(folder, run, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(folder(changes))
    assert not (tmp_path / "run" / "adapter").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clusters": 64}, r"method.clusters 64 is more than the \d+ training images; lower method.clusters$"),
        (
            {"clusters": 9, "rho": 1},
            "ask for clusters of .*; lower method.clusters, or raise method.rho$",
        ),
        ({"clustering": "dbscan", "min_samples": 99}, r"method.min_samples 99 for dbscan of \d+ .*; give 1 to \d+$"),
        ({"clustering": "hdbscan", "min_samples": 1}, r"method.min_samples 1 for hdbscan of \d+ .*; give 2 to \d+$"),
    ],
)
def test_clusters_that_cannot_be_are_refused_before_anything_trains(folder, run, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        run(folder(), settings)
    assert not (tmp_path / "run").exists()


def test_modes_sizes_and_gaps_may_differ(folder, run, geotiff):
    base = folder()
    Image.new("L", (9, 50), 3).save(base / "train/A/0.png")
    Image.new("RGBA", (200, 10), (1, 2, 3, 4)).save(base / "train/B/0.png")
    Image.new("P", (33, 33)).save(base / "train/C/0.png")
    Image.new("1", (5, 5)).save(base / "test/C/0.png")
    Image.new("I;16", (30, 30), 900).save(base / "test/A/0.png")
    Image.new("CMYK", (30, 30)).save(base / "test/A/1.jpg")
    values = np.random.default_rng(1).random((3, 40, 40), dtype=np.float32)
    values[:, :10] = np.nan
    geotiff(values, name="train/A/gaps.tif")
    assert 0 <= run(base)["probe_macro_f1"] <= 100


@pytest.mark.parametrize(
    ("values", "nodata"),
    [(np.full((3, 40, 40), np.nan, np.float32), None), (np.full((3, 40, 40), NODATA, np.uint16), NODATA)],
    ids=["NaN", "nodata"],
)
def test_an_image_without_any_data_is_named(folder, run, geotiff, values, nodata):
    base = folder()
    geotiff(values, name="train/A/void.tif", nodata=nodata)
    with pytest.raises(InputError, match=r"void\.tif: no pixel holds data"):
        run(base)
