"""A run of visual questions handed to transformers and lmms-eval."""

import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForImageTextToText

from eotune.cli.main import main
from eotune.core.errors import EotuneError, InputError
from eotune.methods.adapted import load_adapted
from eotune.runs import instruct_export
from eotune.runs.execute import execute
from eotune.runs.export import export
from eotune.runs.instruct_export import benchmark_command, check_benchmarks, run_benchmarks
from eotune.runs.recipe import parse_recipe


@pytest.fixture(scope="module")
def run(llava, scene_questions, tmp_path_factory):
    """A run that chose half of its samples; not to be changed."""
    data = {split: {"samples": str(scene_questions), "split": split} for split in ("train", "validation", "test")}
    values = {
        "name": "ask",
        "task": {"name": "instruct", **data, "max_new_tokens": 2},
        "encoder": f"vlm:{llava}",
        "method": {"name": "lora", "rank": 4, "parts": {"vision": "lora", "projector": "full"}},
        "training": {"batch_size": 4, "learning_rate": 0.05, "max_steps": 3},
        "selection": {"encoder": "tiny", "sentence_encoder": "tiny", "clusters": 2, "keep": 0.5, "near": None},
    }
    out = tmp_path_factory.mktemp("runs") / "run"
    execute(parse_recipe(values), out)
    return out


def test_a_recipe_may_choose_before_it_trains(run):
    train = yaml.safe_load((run / "data.json").read_text())["splits"]["train"]
    assert 0 < train["conversations"] <= 12


def test_transformers_alone_loads_what_is_exported(run, tmp_path):
    summary = export(run, "hf", tmp_path / "merged")
    assert (summary["format"], summary["compared"]) == ("hf", "logits")
    assert summary["max_difference"] <= 1e-3
    ours = load_adapted(run)
    asked = ours.prompts.question(np.full((40, 40, 3), 90, np.uint8), "is it bright?")
    theirs = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(**asked).logits, ours.eval().model(**asked).logits, rtol=1e-3, atol=1e-3)
    card = (tmp_path / "merged" / "README.md").read_text()
    assert summary["lmms_eval"] in card
    assert "library_name: transformers" in card
    assert shlex.split(summary["lmms_eval"]) == benchmark_command(tmp_path / "merged", "llava")


def test_broken_files_of_a_run_are_named_and_nothing_is_left(run, tmp_path):
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    (broken / "summary.json").write_text("{}")
    with pytest.raises(InputError, match=r"run: its files do not say what a model card needs \(KeyError"):
        export(broken, "hf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_formats_are_refused_and_leave_nothing(run, tmp_path):
    with pytest.raises(InputError, match="a vision-language model is not exported to onnx; what works: --format hf"):
        instruct_export.export_vision_language(run, "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_benchmarks_that_cannot_run_leave_no_export(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(instruct_export, "find_spec", lambda name: None)
    line = ["eotune", "export", run, "--format", "hf", "--out", tmp_path / "merged", "--benchmarks", "mme"]
    monkeypatch.setattr(sys, "argv", list(map(str, line)))
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "'lmms_eval' is not installed; run: pip install lmms-eval" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()


def test_benchmarks_run_where_lmms_eval_is(monkeypatch, tmp_path):
    command = benchmark_command(tmp_path, "smolvlm", ["mme"])
    assert command[4] == "huggingface"
    monkeypatch.setattr(instruct_export, "find_spec", lambda name: name)
    check_benchmarks()
    seen = []

    def called(arguments, **rest):
        seen.append(arguments)
        return subprocess.CompletedProcess(arguments, len(seen) - 1)

    monkeypatch.setattr(subprocess, "run", called)
    run_benchmarks(command)
    assert seen[0][1:] == command[1:]
    with pytest.raises(EotuneError, match="lmms-eval ended with status 1"):
        run_benchmarks(command)
