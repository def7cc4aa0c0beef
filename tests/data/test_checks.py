import json
import time

import numpy as np
import pytest
from PIL import Image

from eotune.data.captions import read_captions
from eotune.data.checks import check_captions, check_files


def found(report):
    return {(finding.kind, finding.parts): finding for finding in report.warnings}


def row(image, *captions, split="train", **more):
    return {"image": image, "captions": list(captions), "split": split, **more}


def test_a_clean_set_has_counts_and_nothing_else(jsonl):
    rows = [row(f"{i}.png", f"alpha{i} beta{i}", f"gamma{i}", label="xy"[i % 3 == 0]) for i in range(6)]
    rows += [row("6.png", "delta", "epsilon", "zeta", split="test", label="x")]
    report = check_files([jsonl(rows)])
    assert report.problems == report.warnings == ()
    train, test = report.counts
    assert (train.data, train.split, train.images, train.captions, train.distinct_captions) == (
        "captions", "train", 6, 12, 12,
    )  # fmt: skip
    assert (train.fewest_captions, train.most_captions, train.classes, train.imbalance_ratio) == (2, 2, 2, 2.0)
    assert (test.split, test.captions, test.georeferenced) == ("test", 3, 0)


def test_every_problem_of_every_file_is_listed_at_once(jsonl, tmp_path, picture):
    rows = [
        row("good.png", "one"),
        row("good.png", "two", split="test"),
        row("empty.png", "three"),
        row("truncated.jpg", "four"),
        row("missing.png", "five"),
        row("../escape.png", "six"),
        {"image": "a.png", "captoins": ["seven"]},
        row("b.png", ""),
        "{broken",
    ]
    first = jsonl(rows, folder=tmp_path / "a")
    (tmp_path / "a/empty.png").write_bytes(b"")
    (tmp_path / "a/missing.png").unlink()
    Image.fromarray(picture(5)).save(tmp_path / "a/truncated.jpg")
    whole = (tmp_path / "a/truncated.jpg").read_bytes()
    (tmp_path / "a/truncated.jpg").write_bytes(whole[: len(whole) // 2])
    second = jsonl([row("fine.png", "eight")], folder=tmp_path / "b", seed=9)
    (tmp_path / "c.json").write_text("{")
    report = check_files([first, second, tmp_path / "c.json", tmp_path / "gone.json"])
    expected = [
        "line 2: image 'good.png' is in split 'test' and, at line 1, in 'train'",
        "empty.png: the image is empty (0 bytes)",
        "truncated.jpg: cannot be read as an image",
        "line 5: image 'missing.png': no such file",
        "line 6: image '../escape.png' leads out of the image folder",
        "line 7: no key 'captions'; did you mean it where the file says 'captoins'?",
        "line 8: image 'b.png': caption 1 is empty",
        "line 9: not valid JSON",
        "c.json: not valid JSON at line 1",
        "gone.json: no such file",
    ]
    assert len(report.problems) == len(expected)
    for part in expected:
        assert sum(part in problem for problem in report.problems) == 1, part
    assert {part.data for part in report.counts} == {"a/captions", "b/captions"}
    assert all(problem in report.render() for problem in report.problems)


def test_what_repeats_inside_a_split(jsonl, picture):
    rows = [
        row("0.png", "a pond", "a pond ."),
        row("1.png", "A pond.", "many green trees are around the small round pond"),
        row("2.png", "many green trees are around the big round pond", "unique"),
        row("3.png", "something else", "entirely"),
        row("4.png", "planes", "ships"),
    ]
    path = jsonl(rows)
    (path.parent / "3.png").write_bytes((path.parent / "0.png").read_bytes())
    Image.open(path.parent / "1.png").resize((90, 90), Image.Resampling.BICUBIC).save(path.parent / "4.png")
    findings = {finding.kind: finding for finding in check_files([path]).warnings}
    assert findings["duplicate_images"].count == 1
    assert findings["duplicate_images"].examples == ("0.png = 3.png",)
    assert findings["near_duplicate_images"].examples == ("1.png = 4.png",)
    assert findings["repeated_captions"].examples == ("0.png: a pond",)
    assert findings["ambiguous_captions"].count == 2
    assert "3 of 10 captions" in findings["ambiguous_captions"].message
    assert findings["ambiguous_captions"].examples == ("2 images: a pond",)
    assert findings["near_duplicate_captions"].count == 2
    assert len(findings) == 5


def test_an_image_may_say_nearly_the_same_twice(jsonl):
    texts = [f"many green trees are around the {size} round pond" for size in ("big", "small")]
    assert check_files([jsonl([row("0.png", *texts), row("1.png", "ships")])]).warnings == ()


def test_what_splits_share(jsonl):
    rows = [
        row("0.png", "many green trees are around the small round pond", "short one"),
        row("1.png", "seven white planes are parked side by side near the terminal"),
        row("2.png", "many green trees are around the small round pond .", split="test"),
        row("3.png", "Short one", split="test"),
        row("4.png", "seven white planes are parked side by side near a terminal", split="test"),
        row("5.png", "x", split="validation"),
    ]
    path = jsonl(rows)
    (path.parent / "3.png").write_bytes((path.parent / "1.png").read_bytes())
    Image.open(path.parent / "0.png").resize((90, 90), Image.Resampling.BICUBIC).save(path.parent / "5.png")
    findings = found(check_files([path]))
    test, val = ("captions train", "captions test"), ("captions train", "captions val")
    assert findings["shared_images", test].examples == ("1.png = 3.png",)
    assert findings["near_shared_images", val].examples == ("0.png = 5.png",)
    assert findings["shared_captions", test].count == 2
    assert findings["shared_long_captions", test].count == 1
    assert findings["near_shared_captions", test].examples == (rows[4]["captions"][0],)
    assert len(findings) == 5


def test_what_sets_share_is_looked_for_where_it_matters(jsonl, tmp_path):
    texts = ["eight words are what makes a caption long", "ships"]
    first = jsonl([row("0.png", texts[0]), row("1.png", texts[1], split="test")], folder=tmp_path / "a")
    second = jsonl([row("0.png", "other"), row("1.png", *texts, split="test")], folder=tmp_path / "b", seed=3)
    findings = found(check_captions({"a": read_captions(first), "b": read_captions(second)}))
    parts = ("a train", "b test")
    assert set(findings) == {("shared_captions", parts), ("shared_long_captions", parts)}


def test_files_without_splits_are_compared_with_all(jsonl, tmp_path):
    first = jsonl([{"image": "0.png", "captions": ["ships"]}], name="rs_train.jsonl", folder=tmp_path)
    second = jsonl([{"image": "0.png", "captions": ["ships"]}], name="rs_test.jsonl", folder=tmp_path)
    findings = found(check_files([first, second]))
    assert set(findings) == {
        ("shared_images", ("rs_train", "rs_test")),
        ("shared_captions", ("rs_train", "rs_test")),
    }


def test_footprints_that_overlap_across_splits(jsonl, geotiff):
    noise = np.random.default_rng(0)

    def tile(name, west):
        geotiff(noise.integers(0, 255, (3, 40, 40), dtype=np.uint8), name=name, crs="EPSG:32633",
                transform=(10, 0, west, 0, -10, 5_000_000))  # fmt: skip

    for name, west in (("a.tif", 500_000), ("b.tif", 500_400), ("c.tif", 500_200), ("d.tif", 600_000)):
        tile(name, west)
    rows = [row("a.tif", "one"), row("b.tif", "two", split="test"), row("c.tif", "three", split="test")]
    rows += [row("d.tif", "four", split="test")]
    report = check_files([jsonl(rows, images=False)])
    (finding,) = report.warnings
    assert finding.kind == "overlapping_footprints"
    assert (finding.count, finding.total, finding.examples) == (1, 3, ("a.tif and c.tif",))
    assert report.counts[1].georeferenced == 3


def test_same_names_are_told_apart(jsonl, tmp_path):
    path = jsonl([row("0.png", "x")], folder=tmp_path / "a")
    assert [part.data for part in check_files([path, path]).counts] == ["a/captions", "a/captions (2)"]


def test_json(jsonl):
    report = check_files([jsonl([row("0.png", "x"), row("1.png", "x", split="test")])])
    assert json.loads(json.dumps(report.to_dict()))["warnings"][0]["kind"] == "shared_captions"


@pytest.fixture
def folders(tmp_path, picture):
    """Write class folders from paths; returns the folder."""

    def build(*names, folder="classes"):
        for number, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number)).save(path)
        return tmp_path / folder

    return build


def test_class_folders(folders):
    folder = folders("Forest/a.png", "Forest/b.png", "Forest/c.png", "Beach/a.png")
    (folder / "Forest/c.png").write_bytes(b"")
    (folder / "Empty").mkdir()
    report = check_files([folder])
    assert [problem.removeprefix(str(folder)) for problem in report.problems] == [
        ": Empty: no image in this class folder; remove it, or fill it",
        "/Forest/c.png: the image is empty (0 bytes); copy it again, or remove it",
    ]
    (part,) = report.counts
    assert (part.data, part.split, part.images, part.captions) == ("classes", None, 4, 0)
    assert (part.classes, part.class_counts, part.imbalance_ratio) == (2, {"Beach": 1, "Forest": 3}, 3.0)
    assert report.warnings == ()


def test_class_folders_in_folders_of_splits(folders, picture):
    folder = folders("train/Forest/a.png", "train/Beach/b.png", "validation/Forest/c.png", "test/Forest/d.png")
    Image.fromarray(picture(0)).save(folder / "test/Forest/e.png")
    Image.fromarray(picture(1)).save(folder / "test/Forest/f.png")
    (folder / "test/stray.png").touch()
    report = check_files([folder])
    assert [(part.split, part.class_counts) for part in report.counts] == [
        ("train", {"Beach": 1, "Forest": 1}), ("val", {"Forest": 1}), ("test", {"Forest": 3}),
    ]  # fmt: skip
    assert report.problems == (f"{folder}: test/stray.png: lies in no class folder; move it into one",)
    findings = found(report)
    parts = ("classes train", "classes test")
    assert findings["shared_images", parts].count == 2
    assert findings["conflicting_labels", parts].examples == ("train/Beach/b.png (Beach) = test/Forest/f.png (Forest)",)
    assert len(findings) == 2


def test_equal_images_of_two_classes(folders, picture):
    folder = folders("Forest/a.png", "Beach/b.png")
    for name in ("Beach/c.png", "Forest/d.png"):
        Image.fromarray(picture(0)).save(folder / name)
    findings = found(check_files([folder]))
    assert findings["duplicate_images", ("classes",)].count == 2
    assert findings["conflicting_labels", ("classes",)].count == 2


def test_labels_in_files(folders, jsonl, tmp_path):
    folders("a.png", "b.png", "c.png")
    rows = [("a.png", "Forest", "train"), ("b.png", "Forest", "train"), ("c.png", "Beach", "test")]
    table = tmp_path / "classes/table.csv"
    table.write_text("\n".join(["image,label,split", *(",".join(one) for one in rows), "gone.png,Beach,test"]))
    lines = [{"image": name, "label": label, "split": split} for name, label, split in rows]
    lines.append({"image": "c.png", "split": "test"})
    file = jsonl(lines, name="lines.jsonl", folder=tmp_path / "classes", images=False)
    report = check_files([table, file])
    assert [part.class_counts for part in report.counts] == [{"Forest": 2}, {"Beach": 1}] * 2
    assert ["gone.png" in report.problems[0], "no key 'label'" in report.problems[1]] == [True, True]
    assert len(report.problems) == 2
    assert {finding.kind for finding in report.warnings} == {"shared_images"}


def test_chips_of_one_source_in_two_splits(folders, tmp_path):
    folders("a.png", "b.png", "c.png", "d.png")
    rows = ["a.png,ship,train,P1", "b.png,ship,train,P2", "c.png,ship,test,P2", "d.png,ship,test,P3"]
    table = tmp_path / "classes/table.csv"
    table.write_text("\n".join(["image,label,split,source", *rows]))
    finding = found(check_files([table]))["shared_origins", ("table train", "table test")]
    assert (finding.count, finding.total, finding.examples) == (1, 2, ("b.png = c.png",))


@pytest.mark.parametrize("names", [(), ("a.png", "b.png")])
def test_a_folder_without_classes(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    (problem,) = check_files([tmp_path]).problems
    assert "class folder" in problem
    assert all(name in problem for name in names)


@pytest.mark.slow
def test_the_real_set(aid):
    started = time.perf_counter()
    report = check_files([aid])
    assert time.perf_counter() - started < 60  # 7 s on two cores
    assert report.problems == ()
    assert [(part.split, part.images, part.captions) for part in report.counts] == [
        ("train", 3600, 18_000), ("val", 750, 3750), ("test", 1027, 5135),
    ]  # fmt: skip
    findings = found(report)
    name = "captions_subset train", "captions_subset test"
    assert findings["near_shared_images", name].examples == (
        "images/Stadium/stadium_190.jpg = images/Stadium/stadium_63.jpg",
    )
    assert sum(kind in ("duplicate_images", "shared_images") for kind, _ in findings) == 0
