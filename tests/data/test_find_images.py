import os

import pytest

from eotune.core.errors import InputError
from eotune.data.find_images import find_images


@pytest.fixture
def tiles(tmp_path):
    for name in ("b.png", "a/2.tif", "a/1.TIF", "a/notes.txt", "a/.hidden.tif", ".cache/x.tif", "c [1]/d.jp2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(folder, found):
    return [path.relative_to(folder).as_posix() for path in found]


def test_a_folder_gives_what_lies_below_it_by_name(tiles):
    assert names(tiles, find_images([tiles])) == ["b.png", "a/1.TIF", "a/2.tif", "c [1]/d.jp2"]


def test_patterns_match_images_and_folders(tiles):
    assert names(tiles, find_images([f"{tiles}/**/*.tif"])) == ["a/2.tif"]
    assert names(tiles, find_images([f"{tiles}/a*"])) == ["a/1.TIF", "a/2.tif"]
    assert names(tiles, find_images([f"{tiles}/a/*"])) == ["a/1.TIF", "a/2.tif"]


def test_a_file_is_taken_whatever_it_is_called(tiles):
    places = [tiles / "a/notes.txt", tiles / "c [1]/d.jp2"]
    assert find_images(places) == places


def test_each_image_counts_once_in_the_order_named(tiles):
    assert names(tiles, find_images([tiles / "a/2.tif", tiles / "a", f"{tiles}/?.png"])) == [
        "a/2.tif", "a/1.TIF", "b.png",
    ]  # fmt: skip


def test_an_image_under_two_spellings_counts_once_and_a_link_to_it_again(tiles):
    (tiles / "link").symlink_to("a")
    (tiles / "b-again.png").symlink_to("b.png")
    places = [tiles / "c [1]/../b.png", tiles / "b.png", tiles / "b-again.png", tiles / "link", tiles / "a"]
    assert names(tiles, find_images(places)) == ["c [1]/../b.png", "b-again.png", "link/1.TIF", "link/2.tif"]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("gone.tif", "gone.tif: no such image or folder"),
        ("*.jp2", "leads to no image; in folders and patterns, images end in .bmp, .gtiff"),
        ("empty", "empty: leads to no image"),
        ("x" * 5000, "cannot be looked up"),
    ],
)
def test_what_leads_nowhere_is_refused(tiles, place, says):
    (tiles / "empty").mkdir()
    with pytest.raises(InputError, match=says):
        find_images([tiles, tiles / place])


def test_no_place_at_all():
    with pytest.raises(InputError, match="no image is named"):
        find_images([])


def test_a_folder_that_cannot_be_read_is_not_passed_over(tiles, monkeypatch):
    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return iter([])

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(InputError, match="cannot be read .Permission denied"):
        find_images([tiles])
