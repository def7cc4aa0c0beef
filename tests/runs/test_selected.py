import json

import pytest
import yaml

from eotune.core.errors import InputError
from eotune.data.captions import read_captions
from eotune.runs import selected as module
from eotune.runs.execute import execute
from eotune.runs.recipe import parse_recipe
from eotune.runs.workshop import Workshop
from eotune.tasks import instruct, retrieval

RULE = {"encoder": "tiny", "sentence_encoder": "tiny", "clusters": 3, "keep": 0.5}


@pytest.fixture
def make(recipe_values):
    def recipe(selection=RULE, **settings):
        values = recipe_values("lora", max_steps=2)
        return parse_recipe({**values, "selection": selection, **settings})

    return recipe


def test_a_run_trains_on_what_it_chose(make, tmp_path):
    execute(make(), tmp_path / "run")
    chosen = json.loads((tmp_path / "run" / "selection" / "summary.json").read_text())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["selection"]
    assert (summary["readable"], summary["kept"]) == (chosen["readable"], chosen["readable"] // 2)
    assert summary["seconds"] > 0
    train = json.loads((tmp_path / "run" / "data.json").read_text())["splits"]["train"]
    assert train["captions"] == chosen["kept"]
    assert read_captions(tmp_path / "run" / "selection" / "subset.jsonl", images=make().task.train.captions.parent)


def test_runs_of_one_process_choose_once(make, tmp_path):
    workshop = Workshop()
    for seed in (0, 1):
        execute(make({**RULE, "seed": 7}, seed=seed), tmp_path / str(seed), workshop=workshop)
    first, second = (tmp_path / name / "selection" for name in ("0", "1"))
    assert (first / "subset.jsonl").read_bytes() == (second / "subset.jsonl").read_bytes()
    assert not (second / "stages").exists()
    execute(make(seed=1), tmp_path / "own", workshop=workshop)  # without a seed of its own, it has the run's
    assert (tmp_path / "own" / "selection" / "stages").exists()


def test_runs_of_one_process_embed_once(make, tmp_path, monkeypatch):
    workshop = Workshop()
    execute(make(), tmp_path / "a", workshop=workshop)
    monkeypatch.setattr("eotune.selection.workers.EmbedTexts.__init__", None)
    execute(make({**RULE, "strategy": {"name": "random"}}, seed=1), tmp_path / "b", workshop=workshop)
    assert (tmp_path / "b" / "selection" / "subset.jsonl").is_file()


def test_an_interrupted_run_goes_on_with_its_choice(make, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("eotune.runs.execute.fit", None)
        with pytest.raises(TypeError):
            execute(make(), out)
    before = (out / "selection" / "summary.json").stat().st_mtime_ns
    with pytest.raises(InputError, match="holds a run already"):
        execute(make(), out)
    execute(make(), out, resume=True)
    assert (out / "selection" / "summary.json").stat().st_mtime_ns == before
    assert (out / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("own", "given", "expected"), [("record", None, "record"), ("row", None, "row"), ("record", "row", "row")]
)
def test_ids_are_those_of_training_unless_given(scene_questions, tmp_path, monkeypatch, own, given, expected):
    data = {"samples": str(scene_questions), "split": "train"}
    recipe = parse_recipe(
        {
            "name": "ask",
            "task": {"name": "instruct", "train": {**data, "ids": own}, "test": data},
            "encoder": "vlm:none",
            "method": {"name": "lora"},
            "selection": RULE if given is None else {**RULE, "ids": given},
        }
    )
    again = parse_recipe(yaml.safe_load(recipe.to_yaml()))
    seen = []
    monkeypatch.setattr(module, "_choose", lambda config, folder, workshop: seen.append(config.ids) or 1 / 0)
    for one in (recipe, again):
        with pytest.raises(ZeroDivisionError):
            module.selected(one, tmp_path, Workshop())
    assert seen == [expected, expected]


@pytest.mark.parametrize("strategy", ["random", "perturbation"])
@pytest.mark.parametrize("task", ["retrieval", "instruct"])
def test_a_share_is_held_out_before_the_choice(captions, scene_questions, tmp_path, task, strategy):
    key, file = ("captions", captions) if task == "retrieval" else ("samples", scene_questions)
    data = {key: str(file), "split": "train"}
    recipe = parse_recipe(
        {
            "name": "held",
            "seed": 3,
            "task": {"name": task, "train": data, "validation": 0.25, "test": {**data, "split": "test"}},
            "encoder": "tiny",
            "method": {"name": "lora"},
            "selection": {**RULE, "strategy": {"name": strategy}},
        }
    )
    read = instruct.read_data if task == "instruct" else retrieval.read_data
    said = (
        (lambda one: [(sample.image, sample.exchanges) for sample in one.samples])
        if task == "instruct"
        else (lambda one: [(one.path(sample), caption) for sample in one.samples for caption in sample.captions])
    )
    full = read(recipe.task, recipe.seed)
    chosen = read(module.selected(recipe, tmp_path, Workshop()).task, recipe.seed)
    assert said(chosen.validation) == said(full.validation)
    assert set(said(chosen.train)) < set(said(full.train))
    summary = json.loads((tmp_path / "selection" / "summary.json").read_text())
    assert summary["readable"] == len(said(full.train))
    assert summary["kept"] == len(said(chosen.train)) == len(said(full.train)) // 2
    (tmp_path / "selection" / "validation.jsonl").unlink()  # as after an interruption before it was written
    again = read(module.selected(recipe, tmp_path, Workshop()).task, recipe.seed)
    assert (said(again.train), said(again.validation)) == (said(chosen.train), said(chosen.validation))


def test_runs_of_one_process_choose_again_where_others_are_held_out(make, tmp_path):
    workshop = Workshop()
    for seed in (0, 1, 0):
        recipe = make({**RULE, "seed": 7, "strategy": {"name": "random"}, "first_cut": False}, seed=seed)
        recipe = recipe.model_copy(update={"task": recipe.task.model_copy(update={"validation": 0.25})})
        out = tmp_path / f"{len(workshop.selections)}-{seed}"
        task = module.selected(recipe, out, workshop).task
        full = retrieval.read_data(recipe.task, seed)
        found = retrieval.read_data(task, seed)
        assert found.validation.paths() == full.validation.paths()
        assert not {*found.train.paths()} & {*found.validation.paths()}
    assert len(workshop.selections) == 2


def test_what_cannot_be_chosen_from_is_refused(make, tmp_path):
    recipe = make()
    limited = recipe.task.model_copy(update={"train": recipe.task.train.model_copy(update={"limit": 3})})
    with pytest.raises(InputError, match=r"selection with task\.train\.limit"):
        execute(recipe.model_copy(update={"task": limited}), tmp_path / "run")
    with pytest.raises(InputError, match="keep must be above 0"):
        make({**RULE, "keep": 2})
