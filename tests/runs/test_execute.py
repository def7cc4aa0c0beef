import json

import pytest
import yaml

from eotune.core.errors import InputError
from eotune.data.captions import read_captions
from eotune.methods.adapted import load_model
from eotune.runs import execute as module
from eotune.runs.execute import execute
from eotune.tasks.retrieval import evaluate_retrieval


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


def test_a_finished_run_is_refused_or_repeated(recipe, tmp_path):
    out = tmp_path / "run"
    rows = execute(recipe("heads"), out)
    with pytest.raises(InputError, match="holds a run already; go on with --resume"):
        execute(recipe("heads"), out)
    assert execute(recipe("heads"), out, resume=True) == rows


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
    from eotune.runs.recipe import parse_recipe

    values = recipe_values()
    values["task"]["test"]["captions"] = str(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"none\.jsonl"):
        execute(parse_recipe(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_strict_refuses_a_test_split_that_was_trained_on(recipe_values, tmp_path, capsys):
    from eotune.runs.recipe import parse_recipe

    values = recipe_values("frozen")
    values["task"]["train"] = values["task"]["test"]
    with pytest.raises(InputError, match=r"train and test share \d+ images"):
        execute(parse_recipe(values), tmp_path / "run", strict=True)
    execute(parse_recipe(values), tmp_path / "run")
    assert "warning: train and test share " in capsys.readouterr().err
