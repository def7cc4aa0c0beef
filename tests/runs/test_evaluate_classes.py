import json
import shutil

import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.runs.evaluate_classes import evaluate_classes
from eotune.runs.execute import execute
from eotune.runs.recipe import parse_recipe


@pytest.fixture(scope="module")
def run(captions, tmp_path_factory):
    """A finished run of classes; not to be changed."""
    data = {split: {"path": str(captions), "split": split} for split in ("train", "validation", "test")}
    values = {"name": "small", "task": {"name": "long_tail", **data}, "encoder": "tiny", "method": {"name": "frozen"}}
    out = tmp_path_factory.mktemp("classes") / "run"
    execute(parse_recipe(values), out)
    return out


@pytest.mark.parametrize("classifier", ["probe", "balanced"])
def test_the_test_split_is_measured_as_the_run_measured_it(run, captions, classifier):
    values = evaluate_classes(run, captions, split="test", classifier=classifier)
    rows = [row for row in json.loads((run / "metrics.json").read_text()) if row["split"] == "test"]
    rows = [row for row in rows if row["model"] == "adapted" and row["metric"].startswith(f"{classifier}_")]
    assert len(rows) == 6
    for row in rows:
        name = row["metric"].removeprefix(f"{classifier}_")
        assert values[name] == pytest.approx(row["value"])
        interval = None if name == "ece" else pytest.approx([row["low"], row["high"]])
        assert values.get(f"{name}_interval") == interval
    assert (values["classifier"], values["images"], values["classes"]) == (classifier, 10, 10)


def test_some_classes_alone_can_be_measured(run, captions, tmp_path):
    for name in ("Beach", "Forest"):
        shutil.copytree(captions.parent / "images" / name, tmp_path / name)
    values = evaluate_classes(run, tmp_path)
    assert (values["images"], values["classes"]) == (8, 2)
    right = [np.round(values["accuracy"] * 8 / 100, 6)]
    assert right == [round(right[0])]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data, run: (data / "Beach").rename(data / "Beaches"), "unknown class 'Beaches'.*did you mean 'Beach'"),
        (lambda data, run: next((data / "Beach").iterdir()).write_bytes(b""), "the image is empty .0 bytes."),
        (lambda data, run: (run / "data.json").unlink(), "data.json: no such file"),
        (lambda data, run: (run / "data.json").write_text("{}"), "does not say which classes are head and tail"),
        (lambda data, run: (run / "data.json").write_text('{"groups": {"head": ["Bech"]}}'), "does not say which"),
    ],
)
def test_what_is_wrong_is_refused(run, captions, tmp_path, damage, says):
    shutil.copytree(captions.parent / "images/Beach", tmp_path / "data/Beach")
    shutil.copytree(run, tmp_path / "run")
    damage(tmp_path / "data", tmp_path / "run")
    with pytest.raises(InputError, match=says):
        evaluate_classes(tmp_path / "run", tmp_path / "data")
