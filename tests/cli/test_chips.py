import json

import pytest


@pytest.fixture
def boxed(scenes):
    return scenes.parent / "images", scenes.parent / "labelTxt"


def test_chips_are_cut_and_counted(eotune, boxed, tmp_path):
    code, out, _ = eotune("chips", *boxed, "--out", tmp_path / "chips", "--minimum-size", 2)
    assert code == 0
    assert "chips of" in out.splitlines()[0]
    code, out, err = eotune("chips", *boxed, "--out", tmp_path / "chips", "--minimum-size", 2, "--json")
    found = json.loads(out)
    assert (code, err, found["problems"]) == (0, "", [])
    assert (
        found["chips"]
        == sum(found["counts"].values())
        == len((tmp_path / "chips/chips.jsonl").read_text().splitlines())
    )


def test_wrong_lines_come_with_file_and_number(eotune, boxed, tmp_path):
    images, labels = boxed
    (tmp_path / "labels").mkdir()
    name = next(labels.glob("harbour_*.txt")).name
    (tmp_path / "labels" / name).write_text((labels / name).read_text() + "1 2 3 ship 0\n")
    code, out, err = eotune("chips", images, tmp_path / "labels", "--out", tmp_path / "chips", "--minimum-size", 2)
    assert (code, out) == (2, "")
    assert f"{name}: line " in err
    assert not (tmp_path / "chips").exists()
    code, out, err = eotune(
        "chips", images, tmp_path / "labels", "--out", tmp_path / "chips", "--minimum-size", 2, "--skip-bad"
    )
    assert code == 0
    assert err.startswith("skipped: ")
    assert "1 wrong" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--format", "voc"), "'format': input should be 'dota' or 'yolo'"),
        (("--format", "yolo"), "give their names in order"),
        (("--classes", "none.yaml"), "none.yaml: cannot be read"),
        (("--margin", "-1"), "'margin'"),
    ],
)
def test_wrong_settings_get_exit_2_and_one_line(eotune, boxed, tmp_path, options, says):
    code, out, err = eotune("chips", *boxed, "--out", tmp_path / "chips", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
