import json
import sys

import pytest
import yaml

from eotune.cli.main import main
from eotune.data.scenes import write_dataset
from eotune.runs.execute import execute
from eotune.runs.recipe import parse_recipe

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A caption file with three splits of synthetic scenes; not to be changed."""
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"train": 2, "validation": 1, "test": 1}, size=32)


@pytest.fixture
def eotune(monkeypatch, capsys):
    """Run the command line in this process; returns (exit status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["eotune", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def rows_of():
    """Read a JSON Lines file."""
    return lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def write_recipe(tmp_path):
    """Write a recipe over a caption file that takes two steps; returns its path."""

    def write(captions, **changes):
        values = {
            "name": "small",
            "task": {"name": "retrieval", **{s: {"captions": str(captions), "split": s} for s in SPLITS}},
            "encoder": "tiny",
            "method": {"name": "heads"},
            "training": {"batch_size": 8, "max_steps": 2, "log_every": 1},
        }
        values.update(changes)
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


@pytest.fixture(scope="session")
def long_tail_run(scenes, tmp_path_factory):
    """A finished run of classes, trained for two steps; not to be changed."""
    task = {"name": "long_tail", **{split: {"path": str(scenes), "split": split} for split in SPLITS}}
    values = {"name": "small", "task": task, "encoder": "tiny", "method": {"name": "lora", "rank": 2}}
    out = tmp_path_factory.mktemp("long_tail") / "run"
    execute(parse_recipe({**values, "training": {"batch_size": 8, "max_steps": 2}}), out)
    return out
