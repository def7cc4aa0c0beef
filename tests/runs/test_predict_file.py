import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shapely import box

from eotune.core.errors import InputError, InterruptedRunError
from eotune.data.scenes import write_dataset
from eotune.runs import predict as predicting
from eotune.runs import predict_file as module
from eotune.runs.execute import execute
from eotune.runs.predict import predict
from eotune.runs.predict_file import parts_of, predict_file
from eotune.runs.prediction_files import write_predictions
from eotune.runs.recipe import parse_recipe

CLASSES = ("Beach", "Forest", "Harbour")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run and the folder of its 21 images, georeferenced; not to be changed."""
    folder = tmp_path_factory.mktemp("classes")
    counts = {"train": 3, "validation": 2, "test": 2}
    captions = write_dataset(folder, counts, classes=CLASSES, spectrum="sar", size=40)
    task = {"name": "long_tail", **{split: {"path": str(captions), "split": split} for split in counts}, "bands": {}}
    recipe = {"name": "small", "task": task, "encoder": "tiny", "method": {"name": "frozen"}}
    execute(parse_recipe({**recipe, "training": {"batch_size": 8, "max_steps": 2}}), folder / "run")
    return folder / "run", folder / "images"


@pytest.fixture
def images(trained, tmp_path, monkeypatch):
    """Copies of the images, in parts of four, of which one cannot be read."""
    monkeypatch.setattr(module, "_IMAGES", 4)
    folder = tmp_path / "images"
    shutil.copytree(trained[1], folder)
    sorted(folder.rglob("*.tif"))[6].write_bytes(b"")
    return folder


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out/classes.geojson"


@pytest.fixture
def stopping(monkeypatch):
    """Have the reader raise where it reads the image of that number, and later ones."""
    real = predicting.SavedModel.pixels

    def stop(number, error):
        read = []

        def pixels(model, path):
            read.append(path)
            if len(read) > number:
                raise error
            return real(model, path)

        monkeypatch.setattr(predicting.SavedModel, "pixels", pixels)
        return read

    return stop


def undisturbed(run, images, out):
    """Write what a call that keeps no parts predicts."""
    found = predict(run, [images], batch_size=2, footprints=True)
    write_predictions(found, out.with_name("whole.geojson"), top=2, probabilities=True)
    return found, out.with_name("whole.geojson").read_bytes()


def write(run, images, out, **settings):
    return predict_file(run, [images], out, **{"batch_size": 2, "top": 2, "probabilities": True, **settings})


def test_the_file_and_its_summary_are_those_of_one_piece(trained, images, out):
    found, expected = undisturbed(trained[0], images, out)
    said = write(trained[0], images, out)
    assert out.read_bytes() == expected
    assert (said.images, said.predicted, said.classifier) == (21, 20, found.classifier)
    assert said.counts == found.counts()
    assert said.problems == found.problems
    assert not parts_of(out).exists()
    assert all(feature["geometry"] for feature in json.loads(expected)["features"])


@pytest.mark.parametrize("error", [RuntimeError("the machine fails"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_an_interrupted_call_goes_on_and_ends_in_the_same_bytes(trained, images, out, stopping, error):
    _, expected = undisturbed(trained[0], images, out)
    stopping(13, error)
    with pytest.raises((RuntimeError, InterruptedRunError)) as caught:
        write(trained[0], images, out)
    assert isinstance(caught.value, RuntimeError) or "go on with --resume" in str(caught.value)
    kept = sorted(path.name for path in parts_of(out).glob("shard-*"))
    assert kept[:2] == ["shard-00000.parquet", "shard-00001.parquet"]
    assert not out.exists()
    with pytest.raises(InputError, match=r"parts: holds predictions that were interrupted; go on with --resume, or"):
        write(trained[0], images, out)
    read = stopping(99, error)
    (parts_of(out) / "shard-00001.parquet").write_bytes(b"torn")
    write(trained[0], images, out, resume=True)
    assert len(read) == 21 - 4 * (len(kept) - 1)
    assert out.read_bytes() == expected
    assert {path.name for path in out.parent.iterdir()} == {"classes.geojson", "whole.geojson"}


def test_parts_of_something_else_are_refused(trained, images, out, stopping, tmp_path):
    stopping(13, RuntimeError("stop"))
    with pytest.raises(RuntimeError, match="stop"):
        write(trained[0], images, out)
    before = {path.name: path.read_bytes() for path in parts_of(out).iterdir()}
    run = shutil.copytree(trained[0], tmp_path / "run")
    with (run / "adapter/eotune.json").open("a") as stream:
        stream.write("\n")
    for source, settings, named in ((run, {}, "run"), (trained[0], {"batch_size": 4}, "batch_size")):
        with pytest.raises(InputError, match=rf"was begun with other {named}; go back to those, or remove the folder"):
            write(source, images, out, resume=True, **settings)
    changed = sorted(images.rglob("*.tif"))[-1]
    os.utime(changed, (0, 0))
    with pytest.raises(InputError, match="begun with other images;"):
        write(trained[0], images, out, resume=True)
    assert {path.name: path.read_bytes() for path in parts_of(out).iterdir()} == before


def test_a_folder_of_another_kind_is_left_alone(trained, images, out):
    parts_of(out).mkdir()
    (parts_of(out) / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else than predictions"):
        write(trained[0], images, out, resume=True)
    assert (parts_of(out) / "notes.txt").read_text() == "mine"


def test_images_that_all_fail_leave_nothing(trained, images, out):
    for path in images.rglob("*.tif"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="21 problems"):
        write(trained[0], images, out)
    assert list(out.parent.iterdir()) == []


def test_resume_without_parts_begins_anew(trained, images, out):
    _, expected = undisturbed(trained[0], images, out)
    write(trained[0], images, out, resume=True)
    assert out.read_bytes() == expected


def test_a_part_gives_back_what_was_put_in(tmp_path):
    name = Path(os.fsdecode(b"a\xff.tif"))
    paths = [Path("first.tif"), name, Path("c.tif")]
    shares = np.float32([[0.1, 0.9], [1 / 3, 2 / 3]])
    shape = box(0.1, 0.2, 1 / 3, 0.7)
    batch = predicting.Predictions(
        tuple(paths[1:]), ("A", "B"), shares, (shape, None), "probe", (f"{name}: \xe9", "no")
    )
    empty = predicting.Predictions((), ("A", "B"), shares[:0], (), "probe", ("third",))
    table = module._table([batch, empty], {path: number for number, path in enumerate(paths)})
    path = module.shard_path(tmp_path, 0)
    module.write_shard(path, table, fingerprint="")

    class Model:
        description = type("Description", (), {"classes": ("A", "B")})
        classifier = "probe"

    found = module._predictions(module.read_shard(path), Model, paths)
    assert found.images == batch.images
    assert found.problems == (f"{name}: \xe9", "no", "third")
    assert found.footprints[0].equals_exact(shape, 0)
    assert found.footprints[1] is None
    assert found.probabilities.dtype == np.float32
    assert (found.probabilities == shares).all()


@pytest.mark.slow
def test_a_killed_process_is_resumed(trained, images, out):
    """The thirteenth image that is read kills the process, as the kernel would."""
    _, expected = undisturbed(trained[0], images, out)
    code = f"""
import os, signal
from pathlib import Path
from eotune.runs import predict, predict_file
real, read = predict.SavedModel.pixels, []
def pixels(model, path):
    read.append(path)
    if len(read) == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(model, path)
predict.SavedModel.pixels, predict_file._IMAGES = pixels, 4
predict_file.predict_file({str(trained[0])!r}, [{str(images)!r}], Path({str(out)!r}), batch_size=2, top=2)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert len(list(parts_of(out).glob("shard-*"))) >= 1
    write(trained[0], images, out, resume=True)
    assert out.read_bytes() == expected
    assert not parts_of(out).exists()
