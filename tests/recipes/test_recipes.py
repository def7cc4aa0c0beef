"""Every shipped recipe parses; a run's takes two steps on synthetic data with the bundled model."""

from pathlib import Path

import pytest
import yaml

from eotune.data.scenes import write_dataset
from eotune.runs.execute import execute
from eotune.runs.grid import make_plan
from eotune.runs.recipe import read_recipe

FOLDER = Path(__file__).parents[2] / "recipes"
VALUES = {path: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
RUNS = [path for path, values in VALUES.items() if "sweep" not in values]
SWEEPS = [path for path, values in VALUES.items() if "sweep" in values]
CAPTIONED = [path for path in RUNS if VALUES[path]["task"]["name"] == "retrieval"]
LABELLED = [path for path in RUNS if VALUES[path]["task"]["name"] == "long_tail"]
ABLATIONS = [path for path in SWEEPS if path.stem.startswith("ablation-")]


@pytest.fixture(scope="session")
def captions(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"train": 2, "validation": 1, "test": 1}, size=32)


def test_there_are_recipes():
    assert {path.stem for path in RUNS} >= {"harma-rsitmd", "harma-rsicd", "harma-ucm", "harma-aid-small"}
    assert {path.stem for path in SWEEPS} >= {"baselines-rsitmd", "baselines-rsicd", "baselines-aid-small"}
    assert len(ABLATIONS) >= 6


@pytest.mark.parametrize("path", CAPTIONED, ids=lambda path: path.stem)
def test_a_recipe_takes_two_steps(path, captions, tmp_path):
    assert "eotune run recipes/" in path.read_text()
    assert read_recipe(path).name == path.stem
    data = [f"task.{split}={{captions: {captions}, split: {split}}}" for split in ("train", "validation", "test")]
    small = ["encoder=tiny", "training.batch_size=8", "training.max_steps=2", "training.device=cpu"]
    recipe = read_recipe(path, [*data, "task.retention=null", *small])
    rows = execute(recipe, tmp_path / "run")
    assert any(row["primary"] for row in rows)


@pytest.mark.parametrize("path", LABELLED, ids=lambda path: path.stem)
def test_a_long_tail_recipe_takes_two_steps(path, captions, tmp_path):
    assert "eotune run recipes/" in path.read_text()
    assert read_recipe(path).name == path.stem
    data = [f"task.{split}={{path: {captions}, split: {split}}}" for split in ("train", "validation", "test")]
    plain = ["task.imbalance_ratio=null", "task.largest=null", "task.groups={by: rank}", "task.bands=null"]
    small = ["encoder=tiny", "training.batch_size=4", "training.max_steps=2", "training.device=cpu"]
    recipe = read_recipe(path, [*data, *plain, *small, "method.clusters=2"])
    rows = execute(recipe, tmp_path / "run")
    assert any(row["primary"] for row in rows)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_is_laid_out(path):
    assert f"eotune sweep recipes/{path.name}" in path.read_text()
    plan = make_plan(path)
    assert plan.name == path.stem
    assert len(plan.trials) == len(plan.points) * len(plan.seeds) > 1


@pytest.mark.parametrize("path", [*ABLATIONS, FOLDER / "baselines-aid-small.yaml"], ids=lambda path: path.stem)
def test_an_ablation_changes_nothing_but_what_it_sweeps(path):
    base, ablation = (dict(VALUES[one]) for one in (FOLDER / "harma-aid-small.yaml", path))
    del base["name"], ablation["name"], ablation["sweep"]
    assert ablation == base


@pytest.mark.parametrize("path", sorted(FOLDER.glob("deblora-ablation-*.yaml")), ids=lambda path: path.stem)
def test_an_ablation_of_deblora_changes_nothing_but_what_it_sweeps(path):
    base, ablation = (dict(VALUES[one]) for one in (FOLDER / "deblora-aid-50.yaml", path))
    del base["name"], ablation["name"], ablation["sweep"]
    assert ablation == base


@pytest.mark.parametrize("path", sorted(FOLDER.glob("long-tail-*.yaml")), ids=lambda path: path.stem)
def test_every_case_of_a_long_tail_comparison_has_the_data_of_the_run(path):
    run = VALUES[FOLDER / path.name.replace("long-tail", "deblora")]
    values = VALUES[path]
    assert (values["task"], values["encoder"]) == (run["task"], run["encoder"])
    assert values["training"] == run["training"]
    steps = {trial.recipe.training.epochs for trial in make_plan(path).trials}
    assert len(steps) == 1
