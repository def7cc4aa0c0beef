import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from eotune.core.errors import InputError
from eotune.core.seeds import derive_seed
from eotune.data.captions import read_captions
from eotune.data.footprints import footprint
from eotune.data.images import BandConfig, read_bands, read_image
from eotune.data.scenes import (
    BANDS,
    CLASSES,
    DEFAULT_CLASSES,
    Georeference,
    contact_sheet,
    multispectral,
    render,
    sar,
    write_dataset,
)

ALL = {"classes": CLASSES, "size": 24}


def scene_of(row, size=24, seed=0):
    split, number = row["image"].rpartition(".")[0].split("_")[-2:]
    return render(row["label"], derive_seed(seed, split, int(number)) % 2**31, size=size)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_data_set_reads_back_and_repeats_no_place(tmp_path):
    captions = read_captions(write_dataset(tmp_path, {"train": 2, "test": 1}, size=24))
    assert len(captions) == 3 * len(DEFAULT_CLASSES) == 30
    assert captions.splits() == {"train": 20, "test": 10}
    contents = {captions.path(sample).read_bytes() for sample in captions.samples}
    assert len(contents) == len(captions)


@pytest.mark.parametrize("spectrum", ["rgb", "multispectral", "sar"])
def test_every_spectrum_shows_the_same_scenes_and_is_the_same_again(tmp_path, spectrum):
    first = write_dataset(tmp_path / "a", {"train": 1}, spectrum=spectrum, **ALL)
    again = write_dataset(tmp_path / "b", {"train": 1}, spectrum=spectrum, **ALL)
    other = write_dataset(tmp_path / "c", {"train": 1}, spectrum=spectrum, seed=1, **ALL)
    captions = read_captions(first)
    assert [sample.label for sample in captions.samples] == list(CLASSES)
    for sample, row in zip(captions.samples, rows_of(first), strict=True):
        scene = scene_of(row)
        assert sample.captions == scene.captions
        assert [box["label"] for box in row["boxes"]] == [box.label for box in scene.boxes]
        for box, true in zip(row["boxes"], scene.boxes, strict=True):
            np.testing.assert_allclose(box["corners"], true.corners, atol=0.006)
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")}
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


def test_multispectral_files_read_back(tmp_path):
    captions = read_captions(write_dataset(tmp_path, {"test": 1}, spectrum="multispectral", **ALL))
    for position, row in enumerate(rows_of(captions.source)):
        values = multispectral(scene_of(row))
        path = captions.path(position)
        np.testing.assert_array_equal(read_bands(path), values.astype(np.float32))
        infrared = BandConfig(bands=("B08", "B04", "B03"), scaling="range", low=0, high=4000)
        expected = np.clip(np.rint(values[[BANDS.index(b) for b in ("B08", "B04", "B03")]] * (255 / 4000)), 0, 255)
        np.testing.assert_allclose(read_image(path, infrared), expected.transpose(1, 2, 0), atol=1)
        # Where nobody names bands, red, green and blue are found by name.
        assert np.array_equal(read_image(path), read_image(path, BandConfig(bands=("B04", "B03", "B02"))))


def test_radar_files_read_back(tmp_path):
    captions = read_captions(write_dataset(tmp_path, {"test": 1}, spectrum="sar", **ALL))
    for position, row in enumerate(rows_of(captions.source)):
        values = sar(scene_of(row))
        np.testing.assert_array_equal(read_bands(captions.path(position)), values)
        shown = read_image(captions.path(position), BandConfig(bands=("VH",), scaling="range", low=-35, high=0))
        assert shown.shape == (24, 24, 3)
        np.testing.assert_allclose(shown[..., 0], ((values[1] + 35) * 255 / 35).clip(0, 255), atol=1)


def test_georeferenced_pictures_lie_side_by_side(tmp_path):
    place = Georeference("EPSG:32633", (400_000.0, 5_000_000.0), 0.5)
    captions = read_captions(write_dataset(tmp_path, {"train": 1}, georeference=place, **ALL))
    outlines = [footprint(path) for path in captions.paths()]
    assert all(path.suffix == ".tif" for path in captions.paths())
    for position, row in enumerate(rows_of(captions.source)):
        np.testing.assert_array_equal(read_image(captions.path(position)), scene_of(row).image)
    centres = [(outline.centroid.x, outline.centroid.y) for outline in outlines]
    assert len(set(centres)) == len(CLASSES)
    assert all(a[0] < b[0] for a, b in pairwise(centres))
    shared = outlines[0].intersection(outlines[1]).area
    assert shared < 0.01 * outlines[0].area
    assert (tmp_path / "labelTxt" / "airport_train_0.txt").read_text().splitlines()[1] == "gsd:0.5"


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown spectrum 'radar'"):
        write_dataset(tmp_path, {"train": 1}, spectrum="radar")
    with pytest.raises(InputError, match="unknown scene class 'Rivers'"):
        write_dataset(tmp_path, {"train": 1}, classes=["Rivers"])
    with pytest.raises(InputError, match="no scene to write"):
        write_dataset(tmp_path, {"train": 0})


def test_a_contact_sheet_holds_every_picture():
    pictures = [render("Forest", seed, size=16).image for seed in range(3)]
    sheet = contact_sheet(pictures, columns=2, gap=2)
    assert isinstance(sheet, Image.Image)
    np.testing.assert_array_equal(np.asarray(sheet)[18:34, :16], pictures[2])
