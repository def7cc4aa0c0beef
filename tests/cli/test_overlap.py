"""A test split that was trained on, through the command line."""

import json

import numpy as np
import pytest
from PIL import Image

WORDS = "many green trees are around a small pond number {} near the road"


def write_set(folder, captions, split):
    """Write a caption file and a picture of noise for each image; ``captions`` are one image's each."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, texts in enumerate(captions):
        pixels = np.random.default_rng([len(split), number]).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        rows.append({"image": f"images/{number}.png", "captions": texts, "split": split})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "captions.jsonl"


@pytest.fixture
def two_sets(tmp_path):
    """Write a set to train on, and test images of which so many have a caption that stands there, in other letters."""

    def write(trained, tested, shared):
        train = write_set(tmp_path / "one", [[WORDS.format(i), f"pond {i}"] for i in range(trained)], "train")
        test = [[f"an aerial image of nothing else but water with number {i}"] for i in range(tested)]
        for i in range(shared):
            test[2 * i].append(WORDS.format(i % (trained - 10)).upper() + " .")
        return train, write_set(tmp_path / "two", test, "test")

    return write


def test_captions_of_another_set_are_counted(eotune, two_sets):
    sets = two_sets(300, 1093, 473)
    code, out, _ = eotune("check", *sets, "--json")
    assert code == 0
    found = {finding["kind"]: finding for finding in json.loads(out)["warnings"] if len(finding["parts"]) == 2}
    for kind in ("shared_captions", "shared_long_captions"):
        assert found[kind]["parts"] == ["one/captions train", "two/captions test"]
        assert (found[kind]["count"], found[kind]["total"]) == (473, 1093)
        assert "(290 captions)" in found[kind]["message"]
    assert "shared_images" not in found
    code, out, _ = eotune("check", *sets, "--strict")
    assert code == 1
    assert "473 of 1,093 images of the latter have a caption that stands in the former" in out


def test_a_run_counts_captions_that_were_trained_on(eotune, two_sets, write_recipe, tmp_path):
    train, test = two_sets(30, 24, 10)
    task = {"name": "retrieval", "train": {"captions": str(train)}, "validation": 0.1, "test": {"captions": str(test)}}
    recipe = write_recipe(train, task=task, method={"name": "frozen"})
    code, _, err = eotune("run", recipe, "--out", tmp_path / "run", "--strict")
    assert code == 0
    leaks = json.loads((tmp_path / "run" / "data.json").read_text())["leaks"]["train and test"]
    count = leaks["images_with_shared_long_caption"]
    assert 7 <= count <= 10  # three images were held out for validation
    assert f"warning: {count} of 24 test images have a caption of 8 words or more that stands in training" in err


def test_strict_refuses_images_that_were_trained_on(eotune, scenes, rows_of, write_recipe, tmp_path):
    rows = [{**row, "split": "train"} if row["split"] == "test" else row for row in rows_of(scenes)]
    changed = tmp_path / "all.jsonl"
    changed.write_text("\n".join(map(json.dumps, rows)))
    shared = sum(row["split"] == "test" for row in rows_of(scenes))
    splits = {split: {"captions": str(scenes), "split": split} for split in ("validation", "test")}
    splits["train"] = {"captions": str(changed), "images": str(scenes.parent), "split": "train"}
    recipe = write_recipe(scenes, task={"name": "retrieval", **splits}, method={"name": "frozen"})
    code, out, err = eotune("run", recipe, "--out", tmp_path / "run", "--strict")
    assert (code, out) == (2, "")
    assert f"error: train and test share {shared} images; remove them from training" in err
    assert not (tmp_path / "run").exists()
    code, _, err = eotune("run", recipe, "--out", tmp_path / "run")
    assert code == 0
    assert f"warning: train and test share {shared} images; figures of the second are too good by that" in err
