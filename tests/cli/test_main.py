import json
import subprocess
import sys

import pytest
from safetensors import SafetensorError

from eotune.cli.main import COMMANDS
from eotune.core.errors import EotuneError, InterruptedRunError


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv=['eotune','--help']\n"
        "import eotune.cli.main as m\n"
        "try: m.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'rich', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(eotune, command):
    code, out, _ = eotune(command, "--help")
    assert code == 0
    assert "--json" in out


def test_version(eotune):
    assert eotune("--version")[1].startswith("eotune 0.")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "none.yaml"), "none.yaml: no such file"),
        (("evaluate", "tiny", "--data", "none.jsonl"), "none.jsonl"),
        (("evaluate", "tinny", "--data", "DATA"), "did you mean 'tiny'?"),
        (("evaluate", "tiny", "--data", "DATA", "--task", "retreival"), "did you mean 'retrieval'?"),
        (("evaluate", "tiny", "--data", "DATA", "--precision", "fp8"), "unknown precision 'fp8'"),
        (("evaluate", "run:nowhere", "--data", "DATA"), "nowhere"),
        (("evaluate", "tiny", "--data", "DATA", "--task", "zero-shot", "--template", "a photo"), "has no {}"),
        (("evaluate", "hf:./nowhere", "--data", "DATA"), "no such directory"),
        (("embed", "DATA", "--encoder", "tiny", "--out", "DATA"), "is there already"),
        (("check", "none.jsonl"), None),
        (("runn", "recipe.yaml"), "unknown command 'runn'; did you mean 'run'?"),
        (("--nonsense",), "no such option: --nonsense; see eotune --help"),
        (("run",), "missing argument 'recipe'; see eotune run --help"),
        (("evaluate", "tiny"), "missing option '--data'; see eotune evaluate --help"),
        (("evaluate", "tiny", "--data", "DATA", "--image-size", "big"), "--image-size"),
        (("demo", "--seed", "-1"), "--seed"),
    ],
)
def test_wrong_input_gets_exit_2_and_one_line(eotune, scenes, arguments, says):
    code, out, err = eotune(*(scenes if word == "DATA" else word for word in arguments))
    assert code == 2
    assert "Traceback" not in out + err
    if says:
        assert out == ""
        assert says in err
        assert err.strip().count("\n") == 0


def test_no_command_shows_the_help(eotune):
    code, out, err = eotune()
    assert code == 2
    assert out == ""
    assert all(command in err for command in COMMANDS)


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "runs/a/log.jsonl"), 1, "runs/a/log.jsonl: No space left on device"),
        (OSError(28, "No space left on device"), 1, "file system: No space left on device"),
        (MemoryError(), 1, "out of memory; lower the batch size or the image size"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), 1, "no space left on device; make room"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), 1, "no space left on device; make room"),
        (EotuneError("it broke"), 1, "it broke"),
        (InterruptedRunError("stopped after step 7; go on with --resume"), 130, "stopped after step 7"),
    ],
)
def test_what_goes_wrong_on_the_way_is_one_line_too(eotune, monkeypatch, raised, code, says):
    def command():
        raise raised

    monkeypatch.setattr("eotune.cli.doctor.command", command)
    status, out, err = eotune("doctor")
    assert (status, out) == (code, "")
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1


def test_a_defect_is_not_hidden(eotune, monkeypatch):
    def command():
        raise RuntimeError("a defect")

    monkeypatch.setattr("eotune.cli.doctor.command", command)
    with pytest.raises(RuntimeError, match="a defect"):
        eotune("doctor")


def test_json_is_all_that_stdout_carries(eotune, scenes, rows_of, tmp_path):
    code, out, _ = eotune("evaluate", "tiny", "--data", scenes, "--split", "test", "--json")
    assert code == 0
    assert 0 <= json.loads(out)["mR"] <= 100
    code, out, _ = eotune("evaluate", "tiny", "--data", scenes, "--task", "zero-shot", "--json")
    assert json.loads(out)["images"] == len(rows_of(scenes))
    code, out, _ = eotune("check", scenes, "--json")
    assert code == 0
    assert json.loads(out)["problems"] == []
    assert "packages" in json.loads(eotune("doctor", "--json")[1])
    code, out, _ = eotune(
        "embed", scenes, "--encoder", "tiny", "--out", tmp_path / "e.parquet", "--split", "test", "--json"
    )
    test = [row for row in rows_of(scenes) if row["split"] == "test"]
    assert json.loads(out)["rows"] == sum(1 + len(row["captions"]) for row in test)


def test_embeddings_are_unit_vectors_that_name_their_encoder(eotune, scenes, rows_of, tmp_path):
    import numpy as np
    import pyarrow.parquet as pq

    out = tmp_path / "e.parquet"
    assert eotune("embed", scenes.parent / "images", "--encoder", "tiny", "--out", out)[0] == 0
    table = pq.read_table(out)
    vectors = np.array(table["embedding"].to_pylist())
    assert vectors.shape == (len(rows_of(scenes)), 128)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert table.schema.metadata[b"encoder"] == b"tiny"
