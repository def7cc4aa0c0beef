import json

import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.data.labelled import read_labelled, scan_labelled

ROWS = [
    {"image": "a.png", "label": "pond", "split": "train"},
    {"image": "b.png", "label": "field", "split": "train"},
    {"image": "c.png", "label": "pond", "split": "validation"},
    {"image": "d.png", "label": "pond", "split": "train"},
]


@pytest.fixture
def folders(tmp_path):
    """Make empty files: reading labels opens no image."""

    def build(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return build


@pytest.fixture
def table(folders):
    def build(text, name="labels.csv"):
        path = folders("a.png", "b.png", "c.png", "d.png") / name
        path.write_text(text, encoding="utf-8")
        return path

    return build


def refused(path, **options):
    with pytest.raises(InputError) as caught:
        read_labelled(path, **options)
    return str(caught.value)


def test_class_folders_are_read_in_the_order_of_their_names(folders):
    root = folders(
        "pond/b.tif",
        "pond/a.JPG",
        "field/c.jpeg",
        "field/notes.txt",
        ".git/x.png",
        "pond/._a.JPG",
        "README.md",
        "pond/._a.JPG",
    )
    found = read_labelled(root)
    assert found.classes == ("field", "pond")
    assert found.images == ("field/c.jpeg", "pond/a.JPG", "pond/b.tif")
    assert found.labels.tolist() == [0, 1, 1]
    assert found.labels.dtype == found.counts().dtype == np.int64
    assert found.paths()[0] == root / "field/c.jpeg"


def test_a_split_of_class_folders_is_its_sub_folder(folders):
    root = folders("train/pond/a.png", "train/field/b.png", "valid/pond/c.png")
    train = read_labelled(root, split="train")
    validation = read_labelled(root, split="val", classes=train.classes)
    assert (train.images, train.root) == (("field/b.png", "pond/a.png"), root / "train")
    assert (validation.classes, validation.counts().tolist()) == (("field", "pond"), [0, 1])
    assert "no folder of split 'test'; it has 'train', 'valid'" in refused(root, split="test")
    assert "train: has a folder inside ('field')" in refused(root)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("pond/a.png", "b.png"), "b.png: lies in no class folder"),
        (("pond/a.png", "field/b.txt"), "field: no image in this class folder"),
        (("notes.txt",), "no class folder in it"),
        (("train/pond/a.png", "Training/pond/a.png"), "2 folders (Training, train) of split 'train'"),
    ],
)
def test_folders_that_are_no_class_folders_are_refused(folders, names, message):
    root = folders(*names)
    assert message in refused(root, split="train" if "train" in message else None)


def test_an_image_folder_beside_class_folders_is_refused(folders):
    root = folders("pond/a.png")
    assert "leave it out" in refused(root, images=root)


def test_jsonl_needs_no_captions(jsonl):
    found = read_labelled(jsonl(ROWS, name="labels.jsonl"), split="train")
    assert found.classes == ("field", "pond")
    assert found.images == ("a.png", "b.png", "d.png")
    assert found.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv"])
def test_a_table_is_read_as_the_same_rows_of_jsonl_are(table, jsonl, name):
    mark = "," if name.endswith("csv") else "\t"
    lines = [["split", "note", "image", "label"], *([r["split"], '"x, y"', r["image"], r["label"]] for r in ROWS)]
    text = "\ufeff" + "\r\n\r\n".join(mark.join(line) for line in lines)
    found, expected = read_labelled(table(text, name)), read_labelled(jsonl(ROWS, name="labels.jsonl"))
    assert (found.images, found.classes, found.root) == (expected.images, expected.classes, expected.root)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert read_labelled(table(text, name), split="val").images == ("c.png",)


def test_numbers_are_class_names_too(jsonl, table):
    numbered = [{"image": f"{name}.png", "label": label} for name, label in (("a", 10), ("b", 2))]
    assert read_labelled(jsonl(numbered)).classes == ("10", "2")
    assert read_labelled(table("image,label\na.png,10\nb.png,2")).classes == ("10", "2")


def test_caption_files_of_every_layout_give_labels(tmp_path, folders):
    folders("x/a.png", "b.png")
    karpathy = {"images": [{"filename": "a.png", "filepath": "x", "sentences": [], "label": "pond"}]}
    harma = [{"image": "b.png", "caption": text, "label": 7, "label_name": "field"} for text in ("one", "two")]
    (tmp_path / "k.json").write_text(json.dumps(karpathy))
    (tmp_path / "h.json").write_text(json.dumps(harma))
    assert read_labelled(tmp_path / "k.json").images == ("x/a.png",)
    assert read_labelled(tmp_path / "h.json").classes == ("field",)
    harma[1]["label_name"] = "pond"
    (tmp_path / "h.json").write_text(json.dumps(harma))
    assert "row 2: image 'b.png' is 'pond', but row 1 calls it 'field'" in refused(tmp_path / "h.json")


def test_the_classes_of_another_split_are_kept_in_order(jsonl):
    path = jsonl(ROWS)
    found = read_labelled(path, split="val", classes=("pond", "field", "forest"))
    assert (found.classes, found.counts().tolist()) == (("pond", "field", "forest"), [1, 0, 0])
    message = refused(path, classes=("ponds", "field"))
    assert "line 1: unknown class 'pond' (of 3 images); did you mean 'ponds'?" in message


def test_a_subset_keeps_classes_and_order(jsonl):
    found = read_labelled(jsonl(ROWS)).subset(np.array([3, 0]))
    assert (found.images, found.labels.tolist(), found.classes) == (("d.png", "a.png"), [1, 1], ("field", "pond"))
    assert (len(found), found.counts().tolist()) == (2, [0, 2])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image": "a.png"}], "line 1: no key 'label'"),
        ([{"image": "a.png", "lable": "x"}], "did you mean it where the file says 'lable'"),
        ([{"image": "a.png", "label": " "}], "'label' is empty"),
        ([{"image": "a.png", "label": ["x"]}], "'label' is ['x']"),
        ([{"image": "a.png", "label": True}], "'label' is True"),
        ([{"image": "../a.png", "label": "x"}], "leads out of the image folder"),
        ([*ROWS, ROWS[0]], "line 5: image 'a.png' stands already at line 1; keep one"),
        ([*ROWS, {**ROWS[0], "label": "Z"}], "line 5: image 'a.png' is labelled 'Z' and, at line 1, 'pond'; keep one"),
        ([*ROWS, "{"], "line 5: not valid JSON"),
    ],
)
def test_wrong_rows_are_refused_with_their_place(jsonl, rows, message):
    assert message in refused(jsonl(rows))


def test_rows_without_a_split_are_told_of(jsonl, capsys):
    rows = [*ROWS[:3], {"image": "d.png", "label": "marsh"}]
    assert read_labelled(jsonl(rows), split="train").classes == ("field", "pond")
    assert "1 of 4 rows give no split and are left out, the first of them 'd.png'" in capsys.readouterr().err
    assert len(read_labelled(jsonl(rows)).images) == 4
    assert capsys.readouterr().err == ""


def test_missing_images_and_splits_are_refused(jsonl):
    rows = [{"image": "a.png", "label": "x"}]
    assert "no such file" in refused(jsonl(rows, images=False))
    assert "gives no split, so none is 'test'" in refused(jsonl(rows), split="test")
    assert "no split 'test'; it has train (3 images), val (1 images)" in refused(jsonl(ROWS), split="test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,x", "no column 'image' in the header ('file', 'label')"),
        ("image,lable\na.png,x", "rename 'lable', or"),
        ("image,label\na.png", "line 2: 1 fields where the header has 2"),
        ("image,label\na.png,", "line 2: 'label' is empty"),
        ("image,label\n,x", "line 2: 'image' is empty"),
        ("image,label,spilt\na.png,x,train", "'spilt' is not a known key"),
        ('image,label\na.png,"x', "line 2: not a valid table"),
        ("image,label\n", "holds no image"),
        ("", "the file is empty"),
    ],
)
def test_wrong_tables_are_refused_with_the_line(table, text, message):
    assert message in refused(table(text))


def test_a_row_may_leave_its_split_out(table):
    path = table("image,label,split\na.png,x,\nb.png,x,test")
    assert read_labelled(path, split="test").images == ("b.png",)
    assert len(read_labelled(path)) == 2


def test_a_set_that_is_not_there_is_refused(tmp_path):
    assert "no such file" in refused(tmp_path / "labels.csv")


def test_the_real_sets_are_read(aid, real):
    train = read_labelled(aid, split="train")
    assert set(train.counts()) == {120}
    assert len(read_labelled(aid, split="test", classes=train.classes)) == 1027
    assert read_labelled(real("eurosat_2700/images")).counts().tolist() == [
        300,
        300,
        300,
        *[250] * 2,
        200,
        250,
        300,
        250,
        300,
    ]
    assert read_labelled(real("mstar/labels.jsonl"), split="train").counts().sum() == 2747


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_what_an_image_was_cut_from_is_kept(table, kind):
    rows = [{**row, "source": source} for row, source in zip(ROWS, ("P1.png", "P2.png", "P1.png", ""), strict=True)]
    lines = [json.dumps(row) for row in rows]
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    found = read_labelled(table("\n".join(lines), f"labels.{kind}"))
    assert found.origins == ("P1.png", "P2.png", "P1.png", "d.png")
    assert found.subset([3, 1]).origins == ("d.png", "P2.png")
    without = "\n".join(json.dumps(row) for row in ROWS)
    assert read_labelled(table(without, "plain.jsonl")).origins is None


def test_classes_that_differ_by_case_only_are_refused(table, folders):
    with pytest.raises(InputError, match="classes 'Ship' and 'ship' differ by case only; write them alike"):
        read_labelled(table("image,label\na.png,Ship\nb.png,ship\nc.png,plane\n"))


def test_a_name_that_is_null_leaves_the_number(jsonl):
    path = jsonl(
        [{"image": "a.png", "label": 3, "label_name": None}, {"image": "b.png", "label": 0, "label_name": "Sea"}]
    )
    assert read_labelled(path).classes == ("3", "Sea")


def test_a_link_to_nothing_is_told(folders):
    folder = folders("Forest/a.tif", "Beach/b.tif")
    (folder / "Forest/c.tif").symlink_to("nowhere.tif")
    assert "Forest/c.tif: is a link to nothing; mend it, or remove it" in refused(folder)
    assert scan_labelled(folder)[1] == ["Forest/c.tif: is a link to nothing; mend it, or remove it"]
    (folder / "nowhere.tif").touch()
    (folder / "Forest/c.tif").unlink()
    (folder / "Forest/c.tif").symlink_to("../nowhere.tif")
    assert "Forest/c.tif" not in refused(folder)


def test_a_class_folder_without_images_says_what_it_has(folders):
    folder = folders("Forest/a.bmp", "Forest/b.webp", "Beach/notes.txt")
    with pytest.raises(InputError, match="Beach: no image in this class folder; of its 1 files none is called as one"):
        read_labelled(folder)
    (folder / "Beach/c.j2k").touch()
    assert read_labelled(folder).counts().tolist() == [1, 2]
