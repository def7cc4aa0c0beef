import importlib.util
import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def kill_runs():
    path = Path(__file__).parents[2] / "scripts" / "kill_runs.py"
    spec = importlib.util.spec_from_file_location("kill_runs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(900)  # three processes that import torch
def test_a_run_that_is_killed_ends_as_an_undisturbed_one(kill_runs, tmp_path, capsys):
    assert kill_runs.trial(tmp_path, kills=1, seed=1, steps=49) == []
    assert "1 kills of" in capsys.readouterr().out


def test_the_plan_has_every_kind_and_its_ends_last(kill_runs):
    import random

    kinds = kill_runs.plan(20, random.Random(0))
    assert {kind: kinds.count(kind) for kind in kinds} == kill_runs.KINDS
    assert kinds[-2:] == ["end", "end"]


def test_a_difference_of_a_bit_is_seen(kill_runs, tmp_path):
    for name, loss in (("whole", 0.5), ("same", 0.5), ("other", 0.25)):
        (tmp_path / name / "adapter").mkdir(parents=True)
        (tmp_path / name / "metrics.json").write_text("[]")
        (tmp_path / name / "adapter" / "weights").write_bytes(b"\0" if name != "other" else b"\1")
        (tmp_path / name / "log.jsonl").write_text(f'{{"event": "step", "step": 1, "loss": {loss}}}\n')
    assert kill_runs.differences(tmp_path / "whole", tmp_path / "same") == []
    assert kill_runs.differences(tmp_path / "whole", tmp_path / "other") == [
        "adapter/weights", "log.jsonl: ('', 'step', 1)",
    ]  # fmt: skip


def test_a_phase_that_trains_again_is_seen(kill_runs, tmp_path):
    def log(*phases):
        lines = [line for phase in phases for line in ({"event": "phase", "name": phase}, {"event": "step", "step": 1})]
        return "".join(json.dumps(line) + "\n" for line in lines)

    for name, phases in (("whole", "ab"), ("resumed", "aab"), ("other", "aba")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text("[]")
        (tmp_path / name / "log.jsonl").write_text(log(*phases))
    assert kill_runs.differences(tmp_path / "whole", tmp_path / "resumed") == []
    (found,) = kill_runs.differences(tmp_path / "whole", tmp_path / "other")
    assert "trains again" in found
