"""Whole runs of long-tailed classification on synthetic scenes."""

import json

import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.core.files import read_json
from eotune.data.scenes import write_dataset
from eotune.methods.adapted import load_image_model
from eotune.runs import execute as module
from eotune.runs.compare import compare
from eotune.runs.execute import execute, phase_settings
from eotune.runs.grid import make_plan
from eotune.runs.recipe import parse_recipe
from eotune.runs.saved_classifiers import read_classifiers
from eotune.runs.sweep import sweep
from eotune.tasks.labelled_images import LabelledDataset, image_features
from eotune.tasks.long_tail import read_data

CLASSES = ("Forest", "Beach", "Harbour")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    counts = {"train": 12, "validation": 3, "test": 4}
    return write_dataset(tmp_path_factory.mktemp("scenes"), counts, classes=CLASSES, size=32)


@pytest.fixture
def values(scenes):
    def of(method="lora", epochs=2, **task):
        settings = {"name": method} if isinstance(method, str) else method
        return {
            "name": f"tail-{settings['name']}",
            "task": {
                "name": "long_tail",
                **{split: {"path": str(scenes), "split": split} for split in ("train", "validation", "test")},
                "imbalance_ratio": 4,
                **task,
            },
            "encoder": {"name": "tiny", "image_size": 32},
            "method": settings,
            "training": {
                "epochs": epochs,
                "batch_size": 4,
                "learning_rate": 1e-3,
                "augmentation": {"randaugment": None},
            },
        }

    return of


RESLT_OF_TWO_GROUPS = {"objective": {"loss": "reslt"}, "groups": {"by": "counts", "head": 5, "tail": 0}}
DEBLORA = {"name": "deblora", "clusters": 3, "rho": 2, "strong": 2}


@pytest.mark.parametrize("method", ["frozen", "lora", "adaptformer", "full", "lift", DEBLORA])
def test_a_run_measures_probes_and_its_own_head(values, tmp_path, method):
    rows = execute(parse_recipe(values(method)), tmp_path / "run")
    (primary,) = [row for row in rows if row["primary"]]
    assert (primary["task"], primary["metric"], primary["split"]) == ("long_tail", "probe_macro_f1", "test")
    test = {(row["model"], row["metric"]) for row in rows if row["split"] == "test"}
    has_head = method not in ("frozen", DEBLORA)  # debLoRA moves the features away from the head
    classifiers = ("probe", "balanced", "own") if has_head else ("probe", "balanced")
    for classifier in classifiers:
        for name in ("accuracy", "macro_f1", "macro_f1_head", "macro_f1_middle", "macro_f1_tail", "ece"):
            assert ("adapted", f"{classifier}_{name}") in test
    assert ("frozen", "own_macro_f1") not in test
    assert (("adapted", "own_macro_f1") in test) == has_head
    gains = [row["value"] for row in rows if row["model"] == "gain"]
    assert gains if method != "frozen" else not np.any(gains)


@pytest.mark.parametrize("task", [{}, {"objective": {"loss": "reslt"}}, RESLT_OF_TWO_GROUPS])
def test_saved_classifiers_give_the_predictions_of_the_run(values, tmp_path, task):
    recipe = parse_recipe(values("lora", **task))
    execute(recipe, tmp_path / "run")
    saved = read_classifiers(tmp_path / "run")
    assert saved is not None
    description, scores = saved
    assert description.classes == ("Beach", "Forest", "Harbour")
    encoder = load_image_model(f"run:{tmp_path / 'run'}")
    from eotune.data.cache import ImageCache

    data = read_data(recipe.task, recipe.seed)
    features = image_features(encoder, ImageCache(data.test.paths()), precision="fp32")
    with np.load(tmp_path / "run" / "predictions.npz") as arrays:
        for name in ("probe", "balanced", "own"):
            found = scores[name].probabilities(features)
            np.testing.assert_allclose(found, arrays[f"adapted_{name}"], atol=2e-3)
            assert found.argmax(1).tolist() == arrays[f"adapted_{name}_predicted"].tolist()


@pytest.mark.parametrize("method", ["lora", DEBLORA, {**DEBLORA, "start": "fresh", "task_weight": 0.5}])
def test_an_interrupted_run_ends_at_the_same_figures(values, tmp_path, monkeypatch, method):
    recipe = parse_recipe(values(method, epochs=4))
    whole = execute(recipe, tmp_path / "whole")
    steps = sum(1 for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines() if '"evaluation"' in line)
    assert steps == 4
    real, seen = module.fit, []

    def breaking(model, work, config, *, log, **rest):
        def watched(event, **fields):
            log(event, **fields)
            seen.append(event)
            if event == "evaluation" and seen.count("evaluation") in (1, 3) and seen.count("broken") < 2:
                seen.append("broken")
                raise KeyboardInterrupt

        return real(model, work, config, log=watched, **rest)

    monkeypatch.setattr(module, "fit", breaking)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            execute(recipe, tmp_path / "run", resume=(tmp_path / "run").exists())
    assert execute(recipe, tmp_path / "run", resume=True) == whole


def test_both_phases_of_deblora_share_the_epochs_of_lora(values):
    recipe = parse_recipe(values({**DEBLORA, "first": 0.25}, epochs=8))
    from eotune.methods.by_name import create

    phases = create(recipe.method).phases()
    assert [(p.name, s.epochs) for p, s in zip(phases, phase_settings(recipe.training, phases), strict=True)] == [
        ("lora", 2.0), ("debias", 6.0),
    ]  # fmt: skip
    frozen = create({**DEBLORA, "features": "frozen"}).phases()
    assert [s.epochs for s in phase_settings(recipe.training, frozen)] == [8.0]
    with pytest.raises(InputError, match="training.epochs 1 is too few for 2 phases; give at least 2"):
        phase_settings(recipe.training.model_copy(update={"epochs": 1.0}), phases)


def test_the_phases_of_deblora_meet_images_as_one_phase_does(values, tmp_path, monkeypatch):
    """Were the second to begin with the first's order and augmentation again, it would see half of what LoRA sees."""
    seen, real = [], LabelledDataset.__getitem__

    def recorded(self, key):
        item = real(self, key)
        seen.append((key, item["pixels"].tobytes()))
        return item

    monkeypatch.setattr(LabelledDataset, "__getitem__", recorded)
    views = {}
    for method in ("lora", "deblora"):
        seen.clear()
        execute(parse_recipe(values("lora" if method == "lora" else DEBLORA, epochs=3)), tmp_path / method)
        views[method] = list(seen)
    assert {epoch for (epoch, _), _ in views["lora"]} == {0, 1, 2}
    assert views["deblora"] == views["lora"]


def test_a_method_of_image_and_text_is_refused(values, tmp_path):
    with pytest.raises(InputError, match="harma"):
        execute(parse_recipe(values("harma")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["deblora", "lift"])
def test_a_method_of_labelled_images_is_refused_for_retrieval(recipe_values, tmp_path, method):
    values = {**recipe_values("frozen"), "method": {"name": method}}
    with pytest.raises(InputError, match=f"method.name: {method} adapts to labelled images.*; take lora or harma"):
        execute(parse_recipe(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_json_tells_classes_groups_and_what_is_shared(values, tmp_path):
    execute(parse_recipe(values("frozen")), tmp_path / "run")
    data = read_json(tmp_path / "run" / "data.json")
    assert sorted(data["splits"]["train"]["classes"].values()) == [3, 6, 12]
    assert sorted(name for group in data["groups"].values() for name in group) == ["Beach", "Forest", "Harbour"]
    assert data["leaks"]["train and test"]["shared_images"] == 0
    assert json.loads(json.dumps(data)) == data


def test_runs_are_compared_by_paired_resamples(values, tmp_path):
    for method in ("frozen", "lora"):
        for seed in (0, 1):
            execute(parse_recipe({**values(method), "seed": seed}), tmp_path / f"{method}-{seed}")
    runs = [tmp_path / f"{method}-{seed}" for method in ("frozen", "lora") for seed in (0, 1)]
    comparison = compare(runs)
    assert comparison.metric == "probe_macro_f1"
    difference = comparison.groups[1].difference
    assert difference.seeds == (0, 1)
    gains = [row["value"] for run in runs[2:] for row in read_json(run / "metrics.json")
             if (row["model"], row["metric"], row["split"]) == ("gain", "probe_macro_f1", "test")]  # fmt: skip
    assert difference.value == pytest.approx(np.mean(gains))
    low, high = difference.over_images
    assert low <= difference.value <= high
    assert compare(runs, metric="balanced_macro_f1_tail").groups[1].difference.over_images is not None
    assert compare(runs, metric="probe_ece").groups[1].difference.over_images is None


def test_a_sweep_of_long_tails_chooses_by_macro_f1(values, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(values("lora", epochs=1)))
    plan = make_plan(file, grid=["task.objective.loss=cross_entropy,logit_adjusted"], seeds="0")
    result = sweep(plan, tmp_path / "sweep", test="all")
    assert result.metric == "probe_macro_f1"
    assert all(point.validation and point.test for point in result.points)
    assert "probe_macro_f1" in (tmp_path / "sweep" / "table.md").read_text()
