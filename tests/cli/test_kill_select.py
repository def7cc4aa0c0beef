import importlib.util
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)  # processes that import torch
def test_a_selection_that_is_killed_chooses_as_an_undisturbed_one(tmp_path, capsys):
    path = Path(__file__).parents[2] / "scripts" / "kill_select.py"
    spec = importlib.util.spec_from_file_location("kill_select", path)
    kill_select = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kill_select)
    assert kill_select.trial(tmp_path, kills=1, seed=1, scenes=6) == []
    assert "1 kills of" in capsys.readouterr().out
