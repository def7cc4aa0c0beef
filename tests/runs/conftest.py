import pytest

from eotune.data.scenes import write_dataset
from eotune.runs.recipe import parse_recipe


@pytest.fixture(scope="session")
def captions(tmp_path_factory):
    """A caption file with three splits of synthetic scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    return write_dataset(folder, {"train": 2, "validation": 1, "test": 1}, size=32)


@pytest.fixture
def recipe_values(captions):
    def build(method="harma", **training):
        data = {split: {"captions": str(captions), "split": split} for split in ("train", "validation", "test")}
        return {
            "name": "small",
            "task": {"name": "retrieval", **data},
            "encoder": "tiny",
            "method": {"name": method, **({"bottleneck": 32} if method == "harma" else {})},
            "training": {"epochs": 2, "batch_size": 16, "log_every": 1, "checkpoint_every": 2, **training},
        }

    return build


@pytest.fixture
def recipe(recipe_values):
    return lambda *arguments, **training: parse_recipe(recipe_values(*arguments, **training))
