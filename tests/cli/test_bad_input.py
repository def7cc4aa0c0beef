"""Bad data and bad models, through every command that takes them: exit 2, one line, nothing written."""

import json
import pickle
import shutil

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from eotune.encoders.tiny import WEIGHTS
from eotune.methods.adapted import load_model, save_adapted
from eotune.methods.by_name import create


def edit(captions, change):
    """Change the last row of a caption file, which is of the test split."""
    rows = [json.loads(line) for line in captions.read_text().splitlines()]
    rows += change(rows) or []
    captions.write_text("\n".join(map(json.dumps, rows)))


def image_of(captions):
    return captions.parent / json.loads(captions.read_text().splitlines()[-1])["image"]


def truncate(path):
    Image.open(path).convert("RGB").resize((64, 64)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:700])


# How the data are damaged, and what the line says: the value and the remedy, beside the file.
DATA = {
    "missing image": (lambda c: image_of(c).unlink(), ["no such file in", "IMAGE"]),
    "truncated JPEG": (lambda c: truncate(image_of(c)), ["IMAGE", "cannot be read as an image", "copy it again"]),
    "image of 0 bytes": (lambda c: image_of(c).write_bytes(b""), ["IMAGE", "empty (0 bytes)", "copy it again"]),
    "caption file of 0 bytes": (lambda c: c.write_bytes(b""), ["the file is empty (0 bytes)", "copy it again"]),
    "wrong key": (
        lambda c: edit(c, lambda rows: rows[-1].update(captoins=rows[-1].pop("captions"))),
        ["no key 'captions'; did you mean it where the file says 'captoins'?"],
    ),
    "empty caption": (
        lambda c: edit(c, lambda rows: rows[-1]["captions"].__setitem__(0, " ")),
        ["caption 1 is empty; write it or remove it"],
    ),
    "no captions": (
        lambda c: edit(c, lambda rows: rows[-1].update(captions=[])),
        ["has no captions; add one or remove the image"],
    ),
    "id in two splits": (
        lambda c: edit(c, lambda rows: [r.update(id="x7") for r in (rows[0], rows[-1])] and None),
        ["id 'x7' is in split 'test' and, at line 1, in 'train'; keep it in one"],
    ),
    "image in two splits": (
        lambda c: edit(c, lambda rows: [{**rows[-1], "split": "train"}]),
        ["is in split 'train' and, at line", "in 'test'; keep it in one"],
    ),
    "path out of the folder": (
        lambda c: edit(c, lambda rows: rows[-1].update(image="../../secret.png")),
        ["'../../secret.png' leads out of the image folder", "write it relative to that folder"],
    ),
}  # fmt: skip


@pytest.fixture
def captions(scenes, tmp_path):
    """A copy of the scenes, to be damaged."""
    shutil.copytree(scenes.parent, tmp_path / "data")
    return tmp_path / "data" / scenes.name


def words(command, model, data, recipe, out):
    return {
        "run": ("run", recipe, "--out", out),
        "evaluate": ("evaluate", model, "--data", data),
        "embed": ("embed", data, "--encoder", model, "--out", out),
        "check": ("check", data, "--json"),
    }[command]


def assert_one_line(result, says):
    code, out, err = result
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(part in err for part in says), err


@pytest.mark.parametrize("command", ["run", "evaluate", "embed", "check"])
@pytest.mark.parametrize("case", DATA)
def test_bad_data(eotune, captions, write_recipe, tmp_path, command, case):
    damage, says = DATA[case]
    image = str(image_of(captions).name)
    damage(captions)
    recipe = write_recipe(captions, method={"name": "frozen"})
    before = sorted(tmp_path.rglob("*"))
    result = eotune(*words(command, "tiny", captions, recipe, tmp_path / "out"))
    says = [image if part == "IMAGE" else part for part in says]
    if command == "check":
        problems = json.loads(result[1])["problems"]
        assert result[0] == 2
        assert len(problems) == 1
        assert all(part in problems[0] for part in says), problems
    else:
        assert_one_line(result, says)
    assert sorted(tmp_path.rglob("*")) == before


def test_check_lists_all_problems_at_once(eotune, captions):
    whole = captions.read_text().splitlines()
    rows = [json.loads(line) for line in whole]
    (captions.parent / rows[0]["image"]).unlink()
    (captions.parent / rows[1]["image"]).write_bytes(b"")
    rows[2]["captions"] = []
    captions.write_text("\n".join([*map(json.dumps, rows), "{"]))
    code, out, _ = eotune("check", captions)
    assert code == 2
    assert "4 problems" in out
    for says in (f"line 1: image {rows[0]['image']!r}: no such file", f"{rows[1]['image']}: the image is empty",
                 "line 3: image", f"line {len(rows) + 1}: not valid JSON"):  # fmt: skip
        assert says in out


def test_three_errors_of_a_recipe_come_at_once(eotune, scenes, write_recipe, tmp_path):
    recipe = write_recipe(scenes, training={"epoch": 3, "batch_size": "many"}, method={"name": "harma", "botleneck": 8})
    code, out, err = eotune("run", recipe, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert f"{recipe}: 3 problems" in err
    for says in (
        "'training.epoch' is not a known key; did you mean 'epochs'?",
        "'training.batch_size': ",
        "(got 'many')",
        "'method.botleneck' is not a known key; did you mean 'bottleneck'?",
    ):
        assert says in err
    assert not (tmp_path / "out").exists()


# --- models -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """An adapter of the bundled encoder, and the encoder itself as a directory; not to be changed."""
    folder = tmp_path_factory.mktemp("models")
    method, encoder = create({"name": "harma", "bottleneck": 16}), load_model("tiny", image_size=32)
    method.apply(encoder, seed=0)
    save_adapted(folder / "run", method, encoder)
    shutil.copytree(WEIGHTS, folder / "hf")
    return folder


def pickled(path):
    path.write_bytes(pickle.dumps({"a": 1}))


def with_tensors(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def lose(tensors):
    del tensors[sorted(tensors)[0]]


def gain(tensors):
    tensors["surplus.weight"] = torch.zeros(2)


def reshape(tensors):
    name = max(tensors, key=lambda key: tensors[key].ndim)
    tensors[name] = torch.zeros(3, 5)


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


WEIGHTS_DAMAGED = {
    "pickle": (pickled, ["pickle"]),
    "cut short": (cut, ["complete|copied whole|model.safetensors"]),
    "missing key": (lambda path: with_tensors(path, lose), ["missing"]),
    "extra key": (lambda path: with_tensors(path, gain), ["unknown surplus.weight|unexpected 1 (surplus.weight)"]),
    "other shape": (lambda path: with_tensors(path, reshape), ["(3, 5)"]),
}
FILES = {"run": ("run", "adapter/adapter.safetensors"), "hf": ("hf", "model.safetensors")}


@pytest.mark.parametrize("command", ["run", "evaluate", "embed"])
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("case", WEIGHTS_DAMAGED)
def test_bad_weights(eotune, scenes, models, write_recipe, tmp_path, command, kind, case):
    damage, says = WEIGHTS_DAMAGED[case]
    folder, file = FILES[kind]
    shutil.copytree(models / folder, tmp_path / folder)
    damage(tmp_path / folder / file)
    model = f"{kind}:{tmp_path / folder}"
    recipe = write_recipe(scenes, encoder=model, method={"name": "frozen"})
    result = eotune(*words(command, model, scenes, recipe, tmp_path / "out"))
    assert_one_line(result, [str(tmp_path / folder)])
    assert all(any(one in result[2] for one in part.split("|")) for part in says), result[2]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"state_dict": {"logit_scale": torch.tensor(1.0), "surplus": torch.zeros(1)}}, ["missing", "(surplus)"]),
        ({"state_dict": Image.new("L", (1, 1))}, ["pickled objects are not loaded, they can run code"]),
    ],
    ids=["missing and extra keys", "pickled object"],
)
def test_bad_checkpoints_of_open_clip(eotune, scenes, tmp_path, content, says):
    torch.save(content, tmp_path / "a.pt")
    result = eotune("evaluate", f"open_clip:ViT-B-32@{tmp_path / 'a.pt'}", "--data", scenes)
    assert_one_line(result, [str(tmp_path / "a.pt"), *says])


@pytest.mark.parametrize("scheme", ["", "hf:", "run:", "composed:", "open_clip:ViT-B-32@"])
def test_a_name_that_no_file_can_have(eotune, scenes, scheme):
    result = eotune("evaluate", scheme + 300 * "a", "--data", scenes)
    assert_one_line(result, [scheme, "the name is too long"])
    assert len(result[2]) < 300


# --- directories --------------------------------------------------------------------------------------------------


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_existing_run_is_left_as_it_is(eotune, scenes, write_recipe, tmp_path):
    recipe, out = write_recipe(scenes, method={"name": "frozen"}), tmp_path / "out"
    assert eotune("run", recipe, "--out", out)[0] == 0
    before = files_of(out)
    assert_one_line(eotune("run", recipe, "--out", out), [str(out), "holds a run already", "--resume", "--out"])
    values = yaml.safe_load(recipe.read_text()) | {"seed": 5}
    recipe.write_text(yaml.safe_dump(values))
    (out / "metrics.json").rename(tmp_path / "metrics.json")  # as a run that was interrupted
    before.pop(out / "metrics.json")
    assert_one_line(eotune("run", recipe, "--out", out, "--resume"), [str(out), "another recipe (seed)", "recipe.yaml"])
    assert files_of(out).keys() == before.keys()
    assert all(path.read_bytes() == content for path, content in before.items() if path.suffix != ".jsonl")


@pytest.mark.parametrize("command", ["run", "run --resume", "demo"])
def test_a_directory_of_something_else_is_refused(eotune, scenes, write_recipe, tmp_path, command):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    name, *options = command.split()
    arguments = [name, *([write_recipe(scenes)] if name == "run" else []), *options]
    before = files_of(tmp_path)
    for target, says in (("out", "is not empty and holds no run"), ("file", "is a file")):
        result = eotune(*arguments, "--out", tmp_path / target)
        assert_one_line(result, [str(tmp_path / target), says, "choose another --out"])
    assert files_of(tmp_path) == before
