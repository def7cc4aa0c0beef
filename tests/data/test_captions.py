import json
import time

import pytest

from eotune.core.errors import InputError
from eotune.data.captions import listed_error, read_captions, scan_captions


def test_root_is_the_folder_of_the_file_or_its_images(jsonl, tmp_path):
    path = jsonl([{"image": "a.png", "captions": ["x"]}])
    assert read_captions(path).root == tmp_path
    (tmp_path / "images").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "images/a.png")
    captions = read_captions(path)
    assert captions.root == tmp_path / "images"
    assert captions.path(0) == captions.path(captions.samples[0]) == tmp_path / "images/a.png"
    assert read_captions(path, images=tmp_path / "images").root == tmp_path / "images"


def test_select_and_subset_keep_order(jsonl):
    rows = [{"image": f"{i}.png", "captions": ["x"], "split": ["train", "validation"][i % 2]} for i in range(6)]
    captions = read_captions(jsonl(rows))
    assert captions.splits() == {"train": 3, "val": 3}
    assert [sample.image for sample in captions.select("dev").samples] == ["1.png", "3.png", "5.png"]
    assert [sample.image for sample in captions.subset([4, 0]).samples] == ["4.png", "0.png"]
    assert [sample.image for sample in read_captions(captions.source, split="val").samples] == [
        "1.png", "3.png", "5.png",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"no split 'test'; it has train \(3 images\), val \(3 images\)"):
        captions.select("test")


def test_a_file_without_splits_is_the_split_asked_for(jsonl):
    captions = read_captions(jsonl([{"image": "a.png", "captions": ["x"]}]), split="validation")
    assert captions.samples[0].split == "val"


def test_all_problems_come_in_one_message(jsonl):
    rows = [
        {"image": "good.png", "captions": ["x"], "split": "train"},
        {"image": "good.png", "captions": ["x"], "split": "test"},
        {"imge": "b.png", "captions": ["x"]},
        {"image": "../c.png", "captions": ["x"]},
        {"image": "d.png", "captions": []},
        "{broken",
    ]
    path = jsonl(rows)
    (path.parent / "gone.jsonl").write_text(path.read_text())
    with pytest.raises(InputError) as caught:
        read_captions(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: 5 problems")
    for part in (
        "line 2: image 'good.png' is in split 'test' and, at line 1, in 'train'",
        "line 3: no key 'image'; did you mean it where the file says 'imge'?",
        "line 4: image '../c.png' leads out of the image folder",
        "line 5: image 'd.png' has no captions",
        "line 6: not valid JSON at column 2",
    ):
        assert part in text
    captions, problems = scan_captions(path)
    assert [sample.image for sample in captions.samples] == ["good.png"]
    assert len(problems) == 5


def test_missing_images_are_listed_ten_at_most(jsonl):
    path = jsonl([{"image": f"{i}.png", "captions": ["x"]} for i in range(13)], images=False)
    with pytest.raises(InputError, match=r"13 problems\n(.*no such file.*\n){10}.*and 3 more"):
        read_captions(path)
    assert len(read_captions(path, check_files=False)) == 13


def test_only_images_of_the_split_asked_for_are_looked_up(jsonl):
    rows = [{"image": "a.png", "captions": ["x"], "split": "test"}, {"image": "b.png", "captions": ["x"]}]
    rows[1]["split"] = "train"
    path = jsonl(rows)
    (path.parent / "b.png").unlink()
    assert len(read_captions(path, split="test")) == 1


@pytest.mark.parametrize("image", ["/etc/hostname", "..", "a/../../b.png", "a\0.png", "\ud800.png"])
def test_paths_that_cannot_be_inside_are_refused(tmp_path, image):
    (tmp_path / "c.jsonl").write_text(json.dumps({"image": image, "captions": ["x"]}))
    with pytest.raises(InputError, match="leads out of the image folder|is not a possible file name"):
        read_captions(tmp_path / "c.jsonl")


def test_links_may_lead_to_the_root_but_not_out_of_it(jsonl, tmp_path):
    path = jsonl([{"image": "data/a.png", "captions": ["x"]}], folder=tmp_path / "real")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    assert len(read_captions(tmp_path / "linked/captions.jsonl")) == 1  # the root itself is a link
    (tmp_path / "outside.png").write_bytes((tmp_path / "real/data/a.png").read_bytes())
    (tmp_path / "real/data/a.png").unlink()
    (tmp_path / "real/data/a.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(InputError, match="is a link out of the image folder"):
        read_captions(path)
    (tmp_path / "real/data/a.png").unlink()
    (tmp_path / "real/b.png").write_bytes((tmp_path / "outside.png").read_bytes())
    (tmp_path / "real/data/a.png").symlink_to("../b.png")
    assert len(read_captions(path)) == 1


def test_a_linked_folder_that_leads_out_is_refused(jsonl, tmp_path):
    path = jsonl([{"image": "data/a.png", "captions": ["x"]}], folder=tmp_path / "real")
    (tmp_path / "real/data").rename(tmp_path / "elsewhere")
    (tmp_path / "real/data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link out of the image folder"):
        read_captions(path)


def test_one_problem_is_one_line():
    assert "\n" not in str(listed_error("a", ["b"], remedy="c"))


def test_image_folder_must_exist(jsonl, tmp_path):
    with pytest.raises(InputError, match="no such folder of images"):
        read_captions(jsonl([{"image": "a.png", "captions": ["x"]}]), images=tmp_path / "nowhere")


def test_the_real_set(aid):
    started = time.perf_counter()
    captions = read_captions(aid)
    assert time.perf_counter() - started < 5
    assert captions.splits() == {"train": 3600, "test": 1027, "val": 750}
    assert captions.format == "jsonl"
    pairs = [(sample.image, text) for sample in captions.select("train").samples for text in sample.captions]
    assert (len(pairs), len(set(pairs)), len({text for _, text in pairs})) == (18_000, 6_800, 5_256)
