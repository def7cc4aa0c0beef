import json

import pytest


@pytest.fixture
def run(eotune, scenes, write_recipe, tmp_path):
    """Make a finished run of a method; returns its directory."""

    def make(**method):
        assert eotune("run", write_recipe(scenes, method=method), "--out", tmp_path / "run")[0] == 0
        return tmp_path / "run"

    return make


def test_an_export_says_where_and_how_close(eotune, run, tmp_path):
    directory = run(name="lora", rank=2)
    code, printed, err = eotune("export", directory, "--format", "peft", "--out", tmp_path / "peft")
    assert (code, err) == (0, "")
    assert printed.startswith(f"{tmp_path / 'peft'}: peft, 0.")
    assert "of the run's own" in printed
    code, printed, err = eotune("export", directory, "--format", "hf", "--out", tmp_path / "hf", "--json")
    assert (code, err) == (0, "")
    summary = json.loads(printed)
    assert summary["format"] == "hf"
    assert summary["files"]["model.safetensors"] == (tmp_path / "hf" / "model.safetensors").stat().st_size
    assert summary["max_difference"] <= 1e-4


def test_wrong_input_is_exit_2_and_one_line(eotune, run, tmp_path):
    directory = run(name="harma", bottleneck=32)
    for to, says in (("hf", "what works: --format onnx"), ("onxx", "did you mean 'onnx'")):
        code, printed, err = eotune("export", directory, "--format", to, "--out", tmp_path / "out")
        assert (code, printed) == (2, "")
        assert err.startswith("error: ")
        assert says in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_of_classes_brings_its_classifier(eotune, long_tail_run, tmp_path):
    words = ("export", long_tail_run, "--out", tmp_path / "hf")
    code, printed, err = eotune(*words, "--format", "open_clip")
    assert (code, printed) == (2, "")
    assert err.endswith("what works: --format hf or peft or onnx\n")
    code, printed, err = eotune(*words, "--format", "hf", "--json")
    assert (code, err) == (0, "")
    summary = json.loads(printed)
    assert {"classifier.safetensors", "classes.json", "README.md"} < summary["files"].keys()
    assert summary["max_difference"] <= 1e-4
    code, printed, err = eotune("export", long_tail_run, "--format", "peft", "--out", tmp_path / "peft")
    assert (code, err) == (0, "")
    assert "features and probabilities within" in printed
