import csv
import io
import json
import os
import signal
import subprocess
import sys

import pytest

RATES = ("--grid", "training.learning_rate=1e-3,1e-2")


def test_a_sweep_prints_its_table_and_says_where_the_rest_is(eotune, scenes, write_recipe, tmp_path):
    out = tmp_path / "sweep"
    recipe = write_recipe(scenes, method={"name": "linear"})
    code, printed, err = eotune("sweep", recipe, *RATES, "--seeds", "0,1", "--out", out)
    assert code == 0, err
    assert printed.startswith("| learning_rate | validation mR | test mR |")
    assert f"report: {out / 'report.html'}" in printed
    assert "edge of its grid" in printed
    assert err.count("trial ") == 4
    rows = list(csv.DictReader(io.StringIO((out / "table.csv").read_text())))
    assert [row["learning_rate"] for row in rows] == ["0.001", "0.01"]
    assert sorted(bool(row["test_mean"]) for row in rows) == [False, True]
    assert next(bool(row["test_mean"]) for row in rows if row["best"] == "1")

    code, printed, _ = eotune("sweep", recipe, *RATES, "--seeds", "0,1", "--out", out, "--resume", "--json")
    assert code == 0
    assert printed == (out / "table.json").read_text()
    assert len(json.loads(printed)["points"]) == 2

    code, _, err = eotune("sweep", recipe, *RATES, "--seeds", "0,1", "--out", out)
    assert code == 2
    assert err.endswith("holds a sweep already; go on with --resume, or choose another --out\n")


def test_a_recipe_with_a_sweep_names_the_command_for_it(eotune, scenes, write_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = {"grid": {"method": [{"name": "frozen"}]}, "seeds": [0, 3]}
    recipe = write_recipe(scenes, sweep=sweep)
    code, _, err = eotune("run", recipe)
    assert (code, err) == (2, f"error: {recipe}: describes a sweep, not one run; run it with: eotune sweep {recipe}\n")
    assert not (tmp_path / "runs").exists()
    assert eotune("sweep", recipe, "--test", "none")[0] == 0
    assert {path.name for path in (tmp_path / "runs/small-sweep/trials").iterdir()} == {
        "method-frozen_seed-0", "method-frozen_seed-3",
    }  # fmt: skip


def test_a_failed_trial_is_an_exit_status(eotune, scenes, write_recipe, tmp_path):
    recipe = write_recipe(scenes, method={"name": "linear"})
    code, printed, err = eotune(
        "sweep", recipe, "--grid", "training.batch_size=8,100000", "--out", tmp_path / "sweep", "--test", "none"
    )
    assert code == 1
    assert "1 failed" in printed
    assert "Failed: batch_size-100000_seed-0: training.batch_size 100000 is larger than the training set" in printed
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to sweep over"),
        ((*RATES, "--test", "beast"), "unknown --test 'beast'; did you mean 'best'?"),
        (("--seeds", "0,x"), "'x' is not a whole number"),
        (("--grid", "training.learnig_rate=1"), "did you mean 'learning_rate'?"),
        (("--grid", "method=3"), "method"),
    ],
)
def test_wrong_arguments_are_one_line(eotune, scenes, write_recipe, tmp_path, arguments, says):
    code, printed, err = eotune("sweep", write_recipe(scenes), *arguments, "--out", tmp_path / "sweep")
    assert (code, printed) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_sweep_that_is_killed_ends_at_the_tables_of_an_undisturbed_one(eotune, scenes, write_recipe, tmp_path):
    training = {"batch_size": 8, "epochs": 2, "log_every": 1, "checkpoint_every": 3}
    recipe = write_recipe(scenes, method={"name": "heads"}, training=training)
    arguments = ["sweep", str(recipe), *RATES, "--seeds", "0,1"]
    assert eotune(*arguments, "--out", tmp_path / "whole")[0] == 0

    out, log = tmp_path / "killed", "trials/learning_rate-0.001_seed-1/log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "eotune.cli.main", *arguments, "--out", str(out)], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:  # the second trial has begun to train
        if line.startswith("small_learning_rate-0.001_seed-1: phase"):
            break
    while '"step": 4' not in ((out / log).read_text() if (out / log).is_file() else ""):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "table.csv").exists()
    assert eotune(*arguments, "--out", out, "--resume")[0] == 0
    assert sum(json.loads(line)["event"] == "start" for line in (out / log).read_text().splitlines()) == 2
    for name in ("table.csv", "table.md", "table.json", "plots/validation.csv", "report.html"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
