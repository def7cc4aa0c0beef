"""Whole runs of visual questions with a tiny random LLaVA."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.core.files import read_json
from eotune.data.images import read_image
from eotune.encoders import load
from eotune.encoders.multimodal_vlm import load_vlm
from eotune.methods.adapted import load_adapted
from eotune.methods.base import parameters_under, trained_parameters
from eotune.methods.by_name import create
from eotune.runs import execute as module
from eotune.runs.compare import compare
from eotune.runs.execute import execute
from eotune.runs.instruct_rows import read_predictions, resampled_accuracy
from eotune.runs.recipe import parse_recipe, read_recipe, read_values


@pytest.fixture(scope="module")
def values(llava, scene_questions):
    def of(method=None, **training):
        data = {split: {"samples": str(scene_questions), "split": split} for split in ("train", "validation", "test")}
        return {
            "name": "ask",
            "task": {"name": "instruct", **data, "max_new_tokens": 4, "kinds": {"tone": "which of"}},
            "encoder": f"vlm:{llava}",
            "method": method or {"name": "lora", "rank": 4},
            "training": {"batch_size": 6, "learning_rate": 3e-3, "log_every": 1, **training},
        }

    return of


@pytest.fixture(scope="module")
def finished(values, tmp_path_factory):
    """A finished run of 15 epochs, in which parts of all three kinds train; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    parts = {"vision": "lora", "projector": "full", "language": "lora"}
    rows = execute(parse_recipe(values({"name": "lora", "rank": 4, "parts": parts}, epochs=15)), out)
    return out, rows


def find(rows, model, metric, split="test"):
    return next(row for row in rows if (row["model"], row["metric"], row["split"]) == (model, metric, split))


def test_a_recipe_takes_the_tasks_defaults_and_keeps_its_own(values):
    recipe = parse_recipe(values())
    training = recipe.training
    assert (training.epochs, training.schedule, training.learning_rate) == (1, "cosine", 3e-3)
    assert recipe.method == {"name": "lora", "rank": 4, "alpha": 64, "dropout": 0.05, "parts": {}}
    assert parse_recipe(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe
    assert parse_recipe({**values(), "method": {"name": "frozen"}}).method == {"name": "frozen"}


def test_it_learns_to_answer_and_says_what_the_image_adds(finished):
    _, rows = finished
    (primary,) = [row for row in rows if row["primary"]]
    assert (primary["model"], primary["metric"], primary["n"]) == ("adapted", "accuracy", 4)
    # Whatever is answered without looking is right for half of the images at most: two are bright, two are dark.
    assert primary["value"] > 50 >= find(rows, "blind", "accuracy")["value"]
    assert find(rows, "prior", "accuracy")["value"] == 50
    assert find(rows, "zero-shot", "accuracy")["value"] == 0
    gain = find(rows, "gain", "accuracy")
    assert gain["value"] == primary["value"]
    assert gain["low"] <= gain["value"] <= gain["high"]
    kinds = [find(rows, "adapted", f"accuracy_{kind}")["value"] for kind in ("yes_no", "tone")]
    assert np.mean(kinds) == pytest.approx(primary["value"])
    assert {row["split"] for row in rows} == {"validation", "test"}


def test_answers_are_kept_and_give_the_figures(finished):
    run, rows = finished
    lines = read_predictions(run)
    assert [line["kind"] for line in lines] == ["yes_no", "tone"] * 4
    right = [line["adapted"]["correct"] for line in lines]
    assert 100 * np.mean(right) == pytest.approx(find(rows, "adapted", "accuracy")["value"])
    samples = resampled_accuracy(run, "accuracy")
    row = find(rows, "adapted", "accuracy")
    assert np.quantile(samples, [0.025, 0.975]).tolist() == pytest.approx([row["low"], row["high"]])
    assert resampled_accuracy(run, "mR") is None
    assert compare([run]).metric == "accuracy"


def test_the_adapter_is_loaded_again_and_answers_the_same(finished):
    run, _ = finished
    encoder = load_adapted(run)
    lines = read_predictions(run)
    images = [read_image(Path(line["image"])) for line in lines]
    found = encoder.generate(images, [line["question"] for line in lines], max_new_tokens=4)
    assert found == [line["adapted"]["answer"] for line in lines]


def test_what_is_written_tells_of_kinds_baselines_and_how_to_load(finished):
    run, _ = finished
    report, card = (run / "report.html").read_text(), (run / "README.md").read_text()
    for text in (
        "Accuracy by kind of question",
        "adapted, blind",
        "training&#x27;s answers",
        "tone",
        "data:image/jpeg",
    ):
        assert text in report
    for text in ("| tone (4) |", "adapted, blind", "PeftModel.from_pretrained", "; projector trained in full"):
        assert text in card
    data = read_json(run / "data.json")
    assert data["splits"]["train"]["kinds"] == {"tone": 12, "yes_no": 12}
    assert data["leaks"]["train and test"]["shared_images"] == 0
    assert (run / "plots" / "learning_curve.png").is_file()


def test_peft_alone_loads_an_adapter_without_full_parts(values, llava, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import LlavaForConditionalGeneration

    execute(parse_recipe(values(max_steps=2, learning_rate=0.05)), tmp_path / "run")
    assert "library_name: peft" in (tmp_path / "run" / "README.md").read_text()
    ours = load_adapted(tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = LlavaForConditionalGeneration.from_pretrained(llava)
        theirs = PeftModel.from_pretrained(base, str(tmp_path / "run" / "adapter")).eval()
    asked = ours.prompts.question(np.full((40, 40, 3), 90, np.uint8), "is it bright?")
    with torch.inference_mode():
        expected = ours.eval().model(**asked).logits
        torch.testing.assert_close(theirs(**asked).logits, expected, rtol=1e-4, atol=1e-4)
        plain = LlavaForConditionalGeneration.from_pretrained(llava).eval()(**asked).logits
    assert (plain - expected).abs().max() > 1e-3


def test_an_interrupted_run_ends_at_the_same_figures(values, tmp_path, monkeypatch):
    recipe = parse_recipe(values(epochs=2, batch_size=8, micro_batch_size=3, checkpoint_every=2))
    whole = execute(recipe, tmp_path / "whole")
    real = module.fit

    def breaking(model, work, config, *, log, **rest):
        def watched(event, **fields):
            log(event, **fields)
            if event == "step" and fields["step"] == 4:
                raise KeyboardInterrupt

        return real(model, work, config, log=watched, **rest)

    monkeypatch.setattr(module, "fit", breaking)
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, tmp_path / "run")
    monkeypatch.setattr(module, "fit", real)
    assert execute(recipe, tmp_path / "run", resume=True) == whole
    weights = [(tmp_path / run / "adapter" / "adapter_model.safetensors").read_bytes() for run in ("whole", "run")]
    assert weights[0] == weights[1]


def test_parts_of_a_batch_change_nothing(values, tmp_path):
    method = {"name": "lora", "rank": 4, "dropout": 0.0}
    losses = []
    for size in (6, 4):
        out = tmp_path / str(size)
        execute(parse_recipe(values(method, max_steps=3, micro_batch_size=size)), out, splits=("validation",))
        events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        losses.append([event["loss"] for event in events if event["event"] == "step"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert len(losses[0]) == 3


def test_answers_that_the_prompt_leaves_no_room_for_are_no_training(values, tmp_path, capsys):
    recipe = values(max_steps=1)
    recipe["task"]["max_tokens"] = 12
    with pytest.raises(
        InputError, match=r"none of 24 samples can be used; the first: sample train-0\.png-0: the prompt"
    ):
        execute(parse_recipe(recipe), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    recipe["task"]["max_tokens"] = 18  # the prompts of the second questions alone take more
    execute(parse_recipe(recipe), tmp_path / "run", splits=("validation",))
    splits = read_json(tmp_path / "run" / "data.json")["splits"]
    assert [splits[name]["conversations"] for name in ("train", "validation", "test")] == [12, 4, 8]
    assert "warning: train: 12 records are left out; the first: sample train-0.png-1: the pr" in capsys.readouterr().err


def test_cut_answers_are_counted(values, tmp_path, capsys):
    recipe = values(max_steps=1)
    recipe["task"]["max_tokens"] = 21
    execute(parse_recipe(recipe), tmp_path / "run")
    assert read_json(tmp_path / "run" / "data.json")["splits"]["train"]["cut"] == 12
    assert (
        "12 of 24 conversations are longer than task.max_tokens: 21; their answers are cut" in capsys.readouterr().err
    )
    assert "12 conversations of train are longer than max_tokens" in (tmp_path / "run" / "report.html").read_text()


def test_what_the_processor_refuses_is_left_out_before_training(values, scene_questions, tmp_path, monkeypatch):
    import transformers
    from PIL import Image

    shutil.copytree(scene_questions.parent, tmp_path / "data")
    for split in ("train", "test"):
        Image.new("RGB", (300, 20)).save(tmp_path / "data" / f"{split}-1.png")
    plain = transformers.LlavaProcessor.__call__

    def strict(self, images=None, **rest):
        for image in images or ():
            if max(image.size) > 10 * min(image.size):
                raise ValueError("absolute aspect ratio must be smaller than 10")
        return plain(self, images=images, **rest)

    monkeypatch.setattr(transformers.LlavaProcessor, "__call__", strict)
    recipe = values(max_steps=1)
    for split in ("train", "validation", "test"):
        recipe["task"][split] = {"samples": str(tmp_path / "data" / scene_questions.name), "split": split}
    execute(parse_recipe(recipe), tmp_path / "run")
    data = read_json(tmp_path / "run" / "data.json")
    assert {split: one["left_out"] for split, one in data["splits"].items()} == {"train": 2, "validation": 0, "test": 2}
    assert data["left_out"]["test"][0].startswith(
        "sample test-1.png-0: an image of shape (20, 300, 3) cannot be prepared"
    )
    assert len(read_predictions(tmp_path / "run")) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": {"name": "harma"}}, "method.name: harma adapts no vision-language model; take lora"),
        ({"encoder": "tiny"}, "encoder 'tiny' is no vision-language model; name one: vlm:"),
        (
            {"method": {"name": "lora", "parts": {"visoin": "full"}}},
            "'method.parts.visoin' is not a known key; did you",
        ),
        (
            {"method": {"name": "lora", "parts": {"projector": "frozen", "language": "frozen"}}},
            "has no linear layer for LoRA",
        ),
    ],
)
def test_what_does_not_fit_is_refused(values, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        execute(parse_recipe({**values(), **change}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


FILES = sorted((Path(__file__).parents[2] / "recipes").glob("instruct-*.yaml"))
RECIPES = [path for path in FILES if "sweep" not in read_values(path)]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_takes_two_steps(path, llava, scene_questions, tmp_path):
    assert f"eotune run recipes/{path.name}" in path.read_text()
    assert read_recipe(path).name == path.stem
    data = [f"task.{split}={{samples: {scene_questions}, split: {split}}}" for split in ("train", "validation", "test")]
    small = ["training.batch_size=4", "training.micro_batch_size=2", "training.max_steps=2", "training.precision=fp32"]
    rows = execute(read_recipe(path, [*data, *small, f"encoder=vlm:{llava}", "method.rank=2"]), tmp_path / "run")
    assert any(row["primary"] for row in rows)


def test_each_part_is_frozen_updated_or_trained_in_full(llava):
    modes = {"vision": "full", "projector": "lora", "language": "frozen"}
    for turn in range(3):
        parts = dict(zip(modes, [*list(modes.values())[turn:], *list(modes.values())[:turn]], strict=True))
        encoder = load_vlm(str(llava))
        owned = {
            part: set().union(*(parameters_under(encoder, path) for path in encoder.parts[part])) for part in parts
        }
        create({"name": "lora", "rank": 2, "parts": parts}).apply(encoder, seed=0)
        trained = set(trained_parameters(encoder))
        for part, mode in parts.items():
            mine = {name for path in encoder.parts[part] for name in parameters_under(encoder, path)} & trained
            assert mine == {"frozen": set(), "full": owned[part]}.get(mode, {one for one in mine if ".lora_" in one})
            assert bool(mine) == (mode != "frozen")
            assert not any("lm_head" in name and ".lora_" in name for name in mine)
    with pytest.raises(InputError, match="method.parts: encoder 'tiny' is no vision-language model"):
        create({"name": "lora", "parts": {}}).apply(load("tiny"), seed=0)
