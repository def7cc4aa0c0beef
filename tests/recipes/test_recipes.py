"""Every shipped recipe parses, and takes two steps on synthetic data with the bundled model."""

from pathlib import Path

import pytest

from eotune.data.scenes import write_dataset
from eotune.runs.execute import execute
from eotune.runs.recipe import read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.fixture(scope="session")
def captions(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"train": 2, "validation": 1, "test": 1}, size=32)


def test_there_are_recipes():
    assert {path.stem for path in RECIPES} >= {"harma-rsitmd", "harma-rsicd", "harma-ucm", "harma-aid-small"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_takes_two_steps(path, captions, tmp_path):
    assert "eotune run recipes/" in path.read_text()
    assert read_recipe(path).name == path.stem
    data = [f"task.{split}={{captions: {captions}, split: {split}}}" for split in ("train", "validation", "test")]
    small = ["encoder=tiny", "training.batch_size=8", "training.max_steps=2", "training.device=cpu"]
    recipe = read_recipe(path, [*data, *small])
    rows = execute(recipe, tmp_path / "run")
    assert any(row["primary"] for row in rows)
