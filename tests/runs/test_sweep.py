import json
import shutil
from pathlib import Path

import pytest
import yaml

from eotune.core.errors import EotuneError, InputError, InterruptedRunError
from eotune.runs import sweep as module
from eotune.runs.execute import execute
from eotune.runs.grid import make_plan
from eotune.runs.sweep import sweep

TABLES = ("table.csv", "table.md", "table.json", "plots/validation.csv", "plots/validation.png", "report.html")
RATES = "training.learning_rate=1e-3,1e-1"


def write_recipe(values, folder):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory, captions):
    """A recipe, and an undisturbed sweep of it over a method on images and one on features."""
    folder = tmp_path_factory.mktemp("swept")
    data = {split: {"captions": str(captions), "split": split} for split in ("train", "validation", "test")}
    values = {
        "name": "small",
        "task": {"name": "retrieval", **data},
        "encoder": "tiny",
        "method": "heads",
        "training": {"epochs": 1, "batch_size": 32, "log_every": 1, "checkpoint_every": 1},
        "sweep": {"grid": {"method": [{"name": "heads"}, {"name": "linear"}]}, "seeds": [0, 1]},
    }
    recipe = write_recipe(values, folder)
    return recipe, folder / "sweep", sweep(make_plan(recipe), folder / "sweep", test="all")


@pytest.fixture
def plan(recipe_values, tmp_path):
    def build(*grid, seeds="0,1", **training):
        return make_plan(write_recipe(recipe_values("heads", **training), tmp_path), grid or [RATES], seeds)

    return build


@pytest.fixture
def made_up(monkeypatch):
    """Put a run in the place of training that finds what a recipe is worth at once; returns what was run."""
    ran = []

    def run(recipe, out, *, resume, splits=("validation", "test"), workshop):
        ran.append((out.name, splits))
        if recipe.training.batch_size > 1000:
            raise InputError("training.batch_size is larger than the training set", remedy="lower it")
        value = 10 * recipe.training.learning_rate + recipe.seed
        row = {"metric": "mR", "model": "adapted", "value": value, "low": value - 1, "high": value + 1}
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.json").write_text(json.dumps([{**row, "split": split} for split in splits]))

    monkeypatch.setattr(module, "execute", run)
    return ran


def test_trials_that_share_have_the_figures_of_separate_runs(swept, tmp_path):
    recipe, out, result = swept
    for trial in make_plan(recipe).trials:
        alone, shared = tmp_path / trial.name, out / "trials" / trial.name
        execute(trial.recipe, alone)
        for name in ("metrics.json", "embeddings.npz", "queries.json", "README.md", "recipe.yaml", "data.json"):
            assert (shared / name).read_bytes() == (alone / name).read_bytes(), (trial.name, name)
        weights = [next((run / "adapter").glob("*.safetensors")).read_bytes() for run in (shared, alone)]
        assert weights[0] == weights[1]
    found = {trial.name: trial.test["value"] for point in result.points for trial in point.trials}
    rows = {name: json.loads((tmp_path / name / "metrics.json").read_text()) for name in found}
    assert found == {name: next(row["value"] for row in rows[name] if row["primary"]) for name in found}


def test_a_sweep_that_is_stopped_again_and_again_ends_at_the_same_tables(swept, tmp_path, monkeypatch):
    recipe, undisturbed, _ = swept
    out, real, writes = tmp_path / "sweep", Path.replace, [0]

    class Killed(BaseException):
        pass

    def replace(self, target):
        writes[0] -= 1
        if writes[0] == 0:
            raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    plan, stops = make_plan(recipe), 0
    while True:  # stopped in front of the first write, then of the third of what is left, of the fifth, ...
        writes[0] = 2 * stops + 1
        try:
            sweep(plan, out, test="all", resume=True)
        except Killed:
            stops += 1
        else:
            break
    assert stops > 5
    for name in TABLES:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert not list(out.rglob("checkpoints"))


def test_what_is_finished_is_not_run_again(plan, made_up, tmp_path):
    sweep(plan(), tmp_path / "sweep")
    names = [name for name, splits in made_up if splits == ("validation",)]
    assert names == [trial.name for trial in plan().trials]
    best = [name for name in names if "learning_rate-0.1_" in name]
    assert [name for name, splits in made_up if "test" in splits] == best
    made_up.clear()
    wider = plan("training.learning_rate=1e-3,1e-1,1", seeds="0,1")
    result = sweep(wider, tmp_path / "sweep", resume=True)
    assert {name for name, _ in made_up} == {"learning_rate-1_seed-0", "learning_rate-1_seed-1"}
    assert result.points[result.best].label == "learning_rate=1"
    described = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert set(described["trials"]) == {trial.name for trial in wider.trials}


@pytest.mark.parametrize(("mode", "tested"), [("none", 0), ("best", 2), ("all", 4)])
def test_who_reads_the_test_split_is_chosen(plan, made_up, tmp_path, mode, tested):
    result = sweep(plan(), tmp_path / "sweep", test=mode)
    assert sum("test" in splits for _, splits in made_up) == tested
    assert sum(point.test.n if point.test else 0 for point in result.points) == tested


def test_a_failing_trial_is_recorded_and_the_others_run(plan, made_up, tmp_path):
    many = plan("training.batch_size=16,5000")
    result = sweep(many, tmp_path / "sweep")
    assert [trial.name for trial in result.failed] == ["batch_size-5000_seed-0", "batch_size-5000_seed-1"]
    assert (result.best, result.points[0].validation.n, result.points[1].validation) == (0, 2, None)
    assert "larger than the training set" in (tmp_path / "sweep" / "table.md").read_text()
    made_up.clear()
    assert sweep(many, tmp_path / "sweep", resume=True) == result
    assert [splits for _, splits in made_up] == [("validation", "test")] * 2  # of the best, which are finished
    shutil.rmtree(tmp_path / "sweep" / "trials" / "batch_size-5000_seed-0")
    sweep(many, tmp_path / "sweep", resume=True)
    assert ("batch_size-5000_seed-0", ("validation",)) in made_up


def test_a_trial_that_diverges_leaves_the_others_alone(plan, tmp_path):
    result = sweep(plan("training.learning_rate=1e-3,1e30", seeds="0", precision="bf16"), tmp_path / "sweep")
    assert result.best == 0
    (failed,) = result.failed
    assert failed.name == "learning_rate-1e-30_seed-0"  # a plus is left out of names
    assert "the loss became" in failed.reason
    assert not list((tmp_path / "sweep").rglob("checkpoints"))


def test_memory_that_runs_out_is_a_trials_failure(plan, made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "execute", lambda *_, **__: [].append(bytearray(2**60)))
    result = sweep(plan(seeds="0"), tmp_path / "sweep")
    assert [trial.reason for trial in result.failed] == ["out of memory", "out of memory"]
    assert result.best is None
    assert (tmp_path / "sweep" / "report.html").is_file()


STOPS = (InterruptedRunError("stopped"), OSError(28, "No space left on device"), RuntimeError("else"))


@pytest.mark.parametrize("error", STOPS, ids=lambda error: type(error).__name__)
def test_what_is_no_fault_of_the_trial_stops_the_sweep_and_is_not_recorded(plan, made_up, tmp_path, monkeypatch, error):
    works = module.execute

    def stop(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(module, "execute", stop)
        with pytest.raises(type(error)):
            sweep(plan(), tmp_path / "sweep")
    assert not list((tmp_path / "sweep").rglob("failed.json"))
    monkeypatch.setattr(module, "execute", works)
    assert not sweep(plan(), tmp_path / "sweep", resume=True).failed


def test_other_errors_of_ours_are_the_trials_own(plan, made_up, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise EotuneError("no luck")

    monkeypatch.setattr(module, "execute", fail)
    assert {trial.reason for trial in sweep(plan(), tmp_path / "sweep").failed} == {"no luck"}


def test_all_that_is_wrong_is_said_before_anything_is_written(recipe_values, tmp_path):
    values = recipe_values("heads")
    values["task"]["test"]["captions"] = str(tmp_path / "none.jsonl")
    grid = ["encoder.name=tiny,hf:/nowhere", "method={name: heads},{name: clip_adapter, reduction: 4096}"]
    with pytest.raises(InputError) as caught:
        sweep(make_plan(write_recipe(values, tmp_path), grid, "0,1"), tmp_path / "sweep")
    message = str(caught.value)
    assert message.startswith("the sweep cannot begin: \n  - ")
    assert all(part in message for part in ("none.jsonl", "/nowhere", "method.reduction"))
    assert message.count("none.jsonl") == 1
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_does_not_go_on_with_other_data(plan, made_up, tmp_path):
    out = tmp_path / "sweep"
    sweep(plan(), out)
    trial = sorted((out / "trials").iterdir())[0]
    (trial / "data.json").write_text(json.dumps({"splits": {"train": {"sha256": "another"}}}))
    made_up.clear()
    with pytest.raises(InputError, match=rf"{trial.name}: was begun with other data \(train\)"):
        sweep(plan(), out, resume=True)
    assert not made_up


def test_wrong_input_of_a_trial_that_was_begun_loses_nothing_of_it(plan, made_up, tmp_path, monkeypatch):
    out, laid_out = tmp_path / "sweep", plan()
    begun = out / "trials" / laid_out.trials[0].name
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "recipe.yaml").write_text(laid_out.trials[0].recipe.to_yaml())
    (out / "sweep.json").write_text(json.dumps({"trials": {}}))

    def refuse(*_, **__):
        raise InputError("the set is not as it was", remedy="put it back")

    monkeypatch.setattr(module, "execute", refuse)
    with pytest.raises(InputError, match="the set is not as it was; put it back"):
        sweep(laid_out, out, resume=True)
    assert (begun / "checkpoints").is_dir()
    assert not (begun / "failed.json").exists()


def test_one_directory_one_sweep(plan, made_up, tmp_path, monkeypatch):
    out = tmp_path / "sweep"
    sweep(plan(), out)
    with pytest.raises(InputError, match="holds a sweep already; go on with --resume"):
        sweep(plan(), out)
    with pytest.raises(InputError, match=r"was begun with another recipe \(training.epochs\)"):
        sweep(plan(epochs=7), out, resume=True)
    (out / "sweep.json").write_text('{"trials": 3}')
    with pytest.raises(InputError, match=r"sweep\.json: describes no sweep"):
        sweep(plan(), out, resume=True)
    with pytest.raises(InputError, match="is not empty and holds no sweep"):
        sweep(plan(), tmp_path, resume=True)
    with pytest.raises(InputError, match=r"recipe\.yaml: is a file"):
        sweep(plan(), tmp_path / "recipe.yaml")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="runs in one process"):
        sweep(plan(), tmp_path / "other")


def test_trials_of_one_encoder_follow_each_other(plan, made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_rehearse", lambda *_: None)
    sweep(plan("training.epochs=1,2", "encoder.image_size=32,48", seeds="0"), tmp_path / "sweep", test="none")
    sizes = [name.partition("image_size-")[2][:2] for name, _ in made_up]
    assert sizes == ["32", "32", "48", "48"]
