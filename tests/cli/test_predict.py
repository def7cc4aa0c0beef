import json
import shutil

import pytest


@pytest.fixture
def images(scenes, tmp_path):
    """Four images of their own, the second of which cannot be read."""
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number, path in enumerate(sorted((scenes.parent / "images").rglob("*_test_0.png"))[:4]):
        shutil.copy(path, folder / f"{number}.png")
    (folder / "1.png").write_bytes(b"no image")
    return folder


def test_classes_in_a_table(eotune, long_tail_run, images, tmp_path):
    out = tmp_path / "out/classes.csv"
    code, said, err = eotune("predict", long_tail_run, images / "0.png", f"{images}/[23].png", "--out", out, "--top", 2)
    assert (code, err) == (0, "")
    header, *lines = out.read_text().splitlines()
    assert header == "image,class,probability,class_2,probability_2"
    assert [line.split(",")[0] for line in lines] == [str(images / name) for name in ("0.png", "2.png", "3.png")]
    assert said.startswith(f"{out}: 3 of 3 images, classifier ")
    counts = {name: int(count) for count, name in (line.split() for line in said.splitlines()[1:])}
    predicted = [line.split(",")[1] for line in lines]
    assert counts == {name: predicted.count(name) for name in predicted}


def test_a_bad_image_is_named_and_costs_the_others_nothing(eotune, long_tail_run, images, tmp_path):
    out = tmp_path / "classes.geojson"
    code, said, err = eotune("predict", long_tail_run, images, "--out", out, "--json", "--classifier", "balanced")
    assert code == 1
    summary = json.loads(said)
    assert (summary["images"], summary["predicted"], summary["classifier"]) == (4, 3, "balanced")
    assert sum(summary["counts"].values()) == 3
    assert len(summary["problems"]) == 1
    assert err.splitlines() == ["1 of 4 images could not be classified:", f"  - {summary['problems'][0]}"]
    assert f"{images / '1.png'}: cannot be read as an image" in err
    features = json.loads(out.read_text())["features"]
    assert [feature["geometry"] for feature in features] == [None] * 3
    assert [feature["properties"]["image"] for feature in features] == [str(images / f"{k}.png") for k in (0, 2, 3)]


def test_an_existing_file_is_kept_unless_asked(eotune, long_tail_run, images, tmp_path):
    out = tmp_path / "classes.jsonl"
    out.write_text("old")
    words = ("predict", long_tail_run, images / "0.png", "--out", out)
    code, said, err = eotune(*words)
    assert (code, said, err) == (2, "", f"error: {out}: is there already; choose another --out, or --overwrite\n")
    assert out.read_text() == "old"
    assert eotune(*words, "--overwrite", "--probabilities")[0] == 0
    row = json.loads(out.read_text())
    assert sum(value for key, value in row.items() if key.startswith("p_")) == pytest.approx(1, abs=1e-4)


def test_an_interrupted_call_is_resumed(eotune, long_tail_run, images, tmp_path, monkeypatch):
    out = tmp_path / "classes.csv"
    words = ("predict", long_tail_run, images / "0.png", "--out", out)
    assert eotune(*words)[0] == 0
    expected = out.read_text()

    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("eotune.runs.predict_file.write_predictions", interrupted)
        code, said, err = eotune(*words, "--overwrite")
    assert (code, said) == (130, "")
    assert err == f"error: interrupted; what is finished is kept in {out}.parts, go on with --resume\n"
    code, said, err = eotune(*words, "--overwrite")
    remedy = "go on with --resume, or remove the folder"
    assert (code, said, err) == (2, "", f"error: {out}.parts: holds predictions that were interrupted; {remedy}\n")
    out.write_text("of the interrupted call")
    assert eotune(*words, "--resume")[0] == 0
    assert out.read_text() == expected
    assert not (tmp_path / "classes.csv.parts").exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"run": "gone"}, "gone: no such run directory"),
        ({"images": "gone/*.tif"}, "gone/*.tif: leads to no image"),
        ({"--out": "a.txt"}, "unknown format of --out a.txt: '.txt'"),
        ({"--classifier": "best?"}, "unknown classifier in"),
        ({"--batch-size": 0}, "batch"),
    ],
)
def test_wrong_input_is_one_line(eotune, long_tail_run, images, tmp_path, monkeypatch, changed, says):
    monkeypatch.chdir(tmp_path)
    words = {"run": long_tail_run, "images": images, "--out": "a.csv"} | changed
    options = [part for key, value in words.items() for part in ([key, value] if key.startswith("--") else [value])]
    code, said, err = eotune("predict", *options)
    assert (code, said) == (2, "")
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [images]


def test_a_run_of_another_task_is_refused(eotune, write_recipe, scenes, images, tmp_path):
    run = tmp_path / "run"
    assert eotune("run", write_recipe(scenes, method={"name": "frozen"}), "--out", run)[0] == 0
    code, said, err = eotune("predict", run, images, "--out", tmp_path / "a.csv")
    assert (code, said) == (2, "")
    assert err == f"error: {run}: its task is retrieval, which has no classes; name a run of long_tail\n"


def test_a_run_is_evaluated_on_other_labels(eotune, long_tail_run, scenes):
    words = ("evaluate", long_tail_run, "--task", "long_tail", "--data", scenes, "--split", "test")
    code, said, err = eotune(*words, "--classifier", "probe", "--json")
    assert (code, err) == (0, "")
    values = json.loads(said)
    assert values["classifier"] == "probe"
    assert values["images"] == 10
    code, said, _ = eotune(*words, "--classifier", "probe")
    assert f"macro_f1: {values['macro_f1']:.2f}\n" in said
    assert "macro_f1_tail_interval: {:.2f} to {:.2f}\n".format(*values["macro_f1_tail_interval"]) in said


def test_a_run_of_classes_is_no_model_of_texts(eotune, long_tail_run, scenes):
    code, said, err = eotune("evaluate", long_tail_run, "--data", scenes)
    assert (code, said) == (2, "")
    assert err.endswith("adapts an image encoder, which reads no text; evaluate it with --task long_tail\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tiny", "--task", "long_tail"), "tiny: no such run directory; name a directory that eotune run made"),
        (("tiny", "--task", "long-tail"), "unknown task 'long-tail'; did you mean 'long_tail'?"),
        (("tiny", "--task", "long_tail", "--image-size", 32), "--image-size does not belong to --task long_tail"),
        (("tiny", "--classifier", "probe"), "--classifier does not belong to --task retrieval"),
    ],
)
def test_options_of_another_task_are_refused(eotune, scenes, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    code, said, err = eotune("evaluate", *words, "--data", scenes)
    assert (code, said) == (2, "")
    assert err.startswith(f"error: {says}")
    assert err.count("\n") == 1
