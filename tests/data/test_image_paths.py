from pathlib import Path

import pytest

from eotune.core.errors import InputError
from eotune.data.image_paths import ImageFolder, image_root, misplaced


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images" / "sub").mkdir(parents=True)
    (tmp_path / "images" / "a.png").touch()
    (tmp_path / "images" / "sub" / "b.png").touch()
    (tmp_path / "outside.png").touch()
    return tmp_path


def test_the_root_is_where_more_images_are_found(folder):
    assert image_root(folder, ["a.png", "sub/b.png"], None) == folder / "images"
    assert image_root(folder, ["images/a.png"], None) == folder
    assert image_root(folder, ["nowhere.png", "\0"], None) == folder
    assert image_root(folder, ["a.png"], folder) == folder


def test_a_root_must_be_there(folder):
    with pytest.raises(InputError, match="no such folder of images"):
        image_root(folder, [], folder / "nowhere")


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a/../../b.png", ".."])
def test_names_that_leave_the_root(name):
    assert "leads out of the image folder" in misplaced(name, Path("images"))


@pytest.mark.parametrize("name", ["a\0b", "\ud800.png"])
def test_impossible_names(name):
    assert "not a possible file name" in misplaced(name, Path("images"))


def test_files_and_links(folder):
    images = folder / "images"
    (images / "inside.png").symlink_to(images / "a.png")
    (images / "away.png").symlink_to(folder / "outside.png")
    files = ImageFolder(images)
    assert [files.missing(name) for name in ("a.png", "sub/b.png", "inside.png")] == [None] * 3
    assert "no such file" in files.missing("sub")
    assert "no such file" in files.missing("c.png")
    assert "is a link out of the image folder" in files.missing("away.png")
