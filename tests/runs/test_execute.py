import json
import shutil
from pathlib import Path

import pytest
import yaml

from eotune import encoders
from eotune.core.errors import InputError
from eotune.core.files import read_json
from eotune.data.captions import read_captions
from eotune.methods.adapted import load_model
from eotune.runs import execute as module
from eotune.runs import retrieval_job
from eotune.runs.execute import execute
from eotune.runs.recipe import parse_recipe
from eotune.tasks.retrieval import CaptionData, evaluate_retrieval


@pytest.mark.parametrize("method", ["frozen", "heads", "lora", "harma", "full"])
def test_a_run_leaves_what_the_design_says(recipe, captions, tmp_path, method):
    out = tmp_path / "run"
    rows = execute(recipe(method), out)
    primary = [row for row in rows if row["primary"]]
    assert len(primary) == 1
    assert set(primary[0]) >= {"task", "dataset", "split", "metric", "value", "low", "high", "n", "seed"}
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == {
        "recipe.yaml", "environment.json", "data.json", "log.jsonl", "metrics.json", "summary.json", "queries.json",
        "embeddings.npz", "adapter", "plots", "README.md", "report.html",
    }  # fmt: skip
    page = (out / "report.html").read_text()
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert all((plot.with_suffix(".csv")).is_file() for plot in (out / "plots").glob("*.png"))
    assert yaml.safe_load((out / "README.md").read_text().split("---")[1])["base_model"] == "tiny"
    assert all(json.loads(line) for line in (out / "log.jsonl").read_text().splitlines())
    again = evaluate_retrieval(load_model(f"run:{out}"), read_captions(captions, split="test"), bootstrap=0)
    assert again.values["mR"] == pytest.approx(primary[0]["value"], abs=1e-6)


@pytest.mark.parametrize(("native", "precision", "said"), [(False, "bf16", 1), (False, "fp32", 0), (True, "bf16", 0)])
def test_emulated_bfloat16_is_said_once(recipe, monkeypatch, capsys, native, precision, said):
    monkeypatch.setattr(module, "computes_bf16", lambda device: native)
    module._warn_of_emulation.cache_clear()
    for _ in range(2):
        module.check_machine(recipe("heads", precision=precision))
    assert capsys.readouterr().err.count("emulates bfloat16") == said


def test_a_finished_run_is_refused_or_repeated(recipe, tmp_path):
    out = tmp_path / "run"
    rows = execute(recipe("heads"), out)
    with pytest.raises(InputError, match="holds a run already; go on with --resume"):
        execute(recipe("heads"), out)
    assert execute(recipe("heads"), out, resume=True) == rows
    with pytest.raises(InputError, match=r"run: was begun with another recipe \(training.epochs\); resume with"):
        execute(recipe("heads", epochs=9), out, resume=True)


@pytest.mark.parametrize("finished", [False, True])
def test_other_data_are_not_gone_on_with(recipe, tmp_path, finished):
    values, out = recipe("heads"), tmp_path / "run"
    execute(values, out)
    captions = values.task.train.captions
    before, text = (out / "data.json").read_bytes(), captions.read_text()
    if not finished:
        (out / "metrics.json").unlink()
    captions.write_text(text.replace('"captions": ["', '"captions": ["new '))
    try:
        with pytest.raises(InputError, match=r"run: was begun with other data \(train.*; put the data back"):
            execute(values, out, resume=True)
    finally:
        captions.write_text(text)
    assert (out / "data.json").read_bytes() == before


@pytest.mark.parametrize("method", ["harma", "lora"])
def test_an_interrupted_run_ends_at_the_same_figures(recipe, tmp_path, monkeypatch, method):
    whole = execute(recipe(method, epochs=4), tmp_path / "whole")
    real = module.fit
    steps = []

    def breaking(model, work, config, *, log, **rest):
        def watched(event, **fields):
            log(event, **fields)
            steps.append(fields.get("step"))
            if event == "step" and fields["step"] == 5:
                raise KeyboardInterrupt

        return real(model, work, config, log=watched, **rest)

    monkeypatch.setattr(module, "fit", breaking)
    with pytest.raises(KeyboardInterrupt):
        execute(recipe(method, epochs=4), tmp_path / "broken")
    assert not (tmp_path / "broken" / "metrics.json").exists()
    monkeypatch.setattr(module, "fit", real)
    resumed = execute(recipe(method, epochs=4), tmp_path / "broken", resume=True)
    assert [row["value"] for row in resumed] == [row["value"] for row in whole]
    weights = [
        next((tmp_path / name / "adapter").glob("adapter*.safetensors")).read_bytes() for name in ("whole", "broken")
    ]
    assert weights[0] == weights[1]


def test_bad_data_leaves_nothing_behind(recipe_values, tmp_path):
    values = recipe_values()
    values["task"]["test"]["captions"] = str(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"none\.jsonl"):
        execute(parse_recipe(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_strict_refuses_a_test_split_that_was_trained_on(recipe_values, tmp_path, capsys):
    values = recipe_values("frozen")
    values["task"]["train"] = values["task"]["test"]
    with pytest.raises(InputError, match=r"train and test share \d+ images"):
        execute(parse_recipe(values), tmp_path / "run", strict=True)
    execute(parse_recipe(values), tmp_path / "run")
    assert "warning: train and test share " in capsys.readouterr().err


@pytest.mark.parametrize("method", ["frozen", "lora", "harma", "linear"])
def test_a_test_split_added_later_gives_the_files_of_a_direct_run(recipe, tmp_path, monkeypatch, method):
    direct, later = tmp_path / "a" / "run", tmp_path / "b" / "run"
    rows = execute(recipe(method), direct)
    validation = execute(recipe(method), later, splits=("validation",))
    assert {row["split"] for row in validation} == {"validation"}
    assert not (later / "report.html").exists()
    assert not (later / "embeddings.npz").exists()
    monkeypatch.setattr(module, "fit", None)  # it is not trained again
    assert execute(recipe(method), later, resume=True) == rows

    names = [{path.relative_to(run) for path in run.rglob("*") if path.is_file()} for run in (direct, later)]
    assert names[0] == names[1]
    timed = {"log.jsonl", "summary.json", "environment.json", "learning_curve.png", "report.html"}
    for name in names[0]:
        if name.name not in timed:
            assert (direct / name).read_bytes() == (later / name).read_bytes(), name


def test_a_report_that_was_not_written_is_written_on_resuming(recipe, tmp_path, monkeypatch):
    def killed(run):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(retrieval_job, "write_report", killed)
        with pytest.raises(KeyboardInterrupt):
            execute(recipe("frozen"), tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()
    rows = execute(recipe("frozen"), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "report.html").is_file()
    assert sum(row["primary"] for row in rows) == 1


def test_checkpoints_that_were_half_removed_are_not_resumed_from(recipe, tmp_path, monkeypatch):
    whole = shutil.rmtree

    def half(path, **rest):
        if "checkpoint-" in str(path) or not Path(path).exists():
            return whole(path, **rest)
        next(Path(path).rglob("checkpoint-*/trained.safetensors")).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", half)
        with pytest.raises(KeyboardInterrupt):
            execute(recipe("heads"), tmp_path / "run")
    rows = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert execute(recipe("heads"), tmp_path / "run", resume=True) == rows
    assert {path.name for path in (tmp_path / "run").glob(".*")} == {".lock"}


def test_the_checksum_of_a_split_is_that_of_its_images_and_captions(recipe_values, captions, tmp_path):
    def digests(name, text):
        file = captions.with_name(name)
        file.write_text(text)
        values = recipe_values("frozen")
        for split in ("train", "validation", "test"):
            values["task"][split]["captions"] = str(file)
        execute(parse_recipe(values), tmp_path / name, splits=("validation",))
        splits = json.loads((tmp_path / name / "data.json").read_text())["splits"]
        return [splits[split]["sha256"] for split in ("train", "validation", "test")]

    lines = [json.loads(line) for line in captions.read_text().splitlines()]
    first = digests("copy.jsonl", captions.read_text())
    next(line for line in lines if line["split"].startswith("val"))["captions"][0] += " again"
    second = digests("changed.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert [one == other for one, other in zip(first, second, strict=True)] == [True, False, True]


def test_retention_is_measured_beside_the_test_split(recipe_values, captions, tmp_path):
    values = recipe_values("heads")
    listed = tmp_path / "listed.txt"
    names = [sample.image for sample in read_captions(captions, split="validation").samples]
    listed.write_text("\n".join(names[:5]))
    values["task"]["retention"] = {"captions": str(captions), "split": "val", "listed": str(listed)}
    recipe = parse_recipe(values)
    run = tmp_path / "run"
    rows = execute(recipe, run, splits=("validation",))
    assert {row["split"] for row in rows} == {"validation"}
    rows = execute(recipe, run, resume=True)
    found = {row["model"]: row for row in rows if (row["split"], row["metric"]) == ("retention", "mR")}
    chosen = CaptionData.model_validate(values["task"]["retention"]).read()
    before = evaluate_retrieval(encoders.load("tiny"), chosen)
    assert found["zero-shot"]["value"] == before.values["mR"]
    assert found["gain"]["value"] == found["adapted"]["value"] - found["zero-shot"]["value"]
    assert {row["n"] for row in found.values()} == {5}
    assert not any(row["primary"] for row in found.values())
    assert set(read_json(run / "data.json")["leaks"]) >= {"train and retention"}
    assert "| mR, retention |" in (run / "README.md").read_text()
    assert "What adapting forgets" in (run / "report.html").read_text()
    resolved = yaml.safe_load((run / "recipe.yaml").read_text())
    assert resolved["task"]["retention"]["listed"] == str(listed)
