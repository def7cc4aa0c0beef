import json
import subprocess
import sys

import pytest


def test_a_run_says_what_it_found_and_where(eotune, scenes, write_recipe, tmp_path):
    code, out, err = eotune("run", write_recipe(scenes), "--out", tmp_path / "run")
    assert code == 0, err
    lines = out.splitlines()
    assert [line.partition(":")[0].split()[-1] for line in lines[:3]] == ["zero-shot", "adapted", "gain"]
    assert lines[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    assert "small: phase train" in err


def test_json_is_the_figures_and_nothing_else(eotune, scenes, write_recipe, tmp_path):
    recipe, out = write_recipe(scenes), tmp_path / "run"
    code, printed, _ = eotune("run", recipe, "--out", out, "--json")
    assert code == 0
    assert json.loads(printed) == json.loads((out / "metrics.json").read_text())
    again = eotune("run", recipe, "--out", out, "--resume", "--json")
    assert again[:2] == (0, printed)


def test_overrides_reach_the_run(eotune, scenes, write_recipe, tmp_path):
    out = tmp_path / "run"
    code, printed, _ = eotune("run", write_recipe(scenes), "--set", "seed=3", "--out", out, "--json")
    assert code == 0
    assert {row["seed"] for row in json.loads(printed)} == {3}
    assert "seed: 3" in (out / "recipe.yaml").read_text()


def test_a_name_says_where_to(eotune, scenes, write_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert eotune("run", write_recipe(scenes, method={"name": "frozen"}))[0] == 0
    assert (tmp_path / "runs" / "small" / "metrics.json").is_file()


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one_and_only_one_speaks(scenes, write_recipe, tmp_path, eotune):
    training = {"batch_size": 8, "epochs": 1, "log_every": 1, "report_to": ["tensorboard"]}
    recipe = write_recipe(scenes, method={"name": "harma", "bottleneck": 32}, training=training)
    assert eotune("run", recipe, "--out", tmp_path / "one", "--json")[0] == 0
    launched = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "eotune.cli.main", "run", str(recipe), "--out", str(tmp_path / "two"), "--json"],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    assert "Traceback" not in launched.stderr
    figures = {row["metric"]: row["value"] for row in json.loads(launched.stdout) if row["model"] == "adapted"}
    one = {r["metric"]: r["value"] for r in json.loads((tmp_path / "one/metrics.json").read_text())
           if r["model"] == "adapted"}  # fmt: skip
    assert figures == pytest.approx(one, abs=0.5)
    events = [[json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
              for run in ("one", "two")]  # fmt: skip
    assert [event["event"] for event in events[0]] == [event["event"] for event in events[1]]
    losses = [[event["loss"] for event in log if event["event"] == "step"] for log in events]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    names = [{p.relative_to(tmp_path / run) for p in (tmp_path / run).glob("*")} for run in ("one", "two")]
    assert names[0] == names[1]
    assert [len(list((tmp_path / run / "tensorboard").rglob("events.*"))) for run in ("one", "two")] == [1, 1]
