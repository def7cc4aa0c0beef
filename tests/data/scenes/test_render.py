import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.data.scenes import CLASSES, contact_sheet, render, write_dataset
from eotune.data.scenes.words import TEMPLATES


@pytest.mark.parametrize("label", CLASSES)
def test_a_scene_is_a_function_of_class_and_seed(label):
    first, again, other = render(label, 5, size=48), render(label, 5, size=48), render(label, 6, size=48)
    np.testing.assert_array_equal(first.image, again.image)
    assert first.captions == again.captions
    assert not np.array_equal(first.image, other.image)
    assert len(first.captions) == 5
    assert all(caption.endswith(" .") and "{" not in caption for caption in first.captions)


@pytest.mark.parametrize("label", CLASSES)
def test_the_place_does_not_depend_on_the_size(label):
    small, large = render(label, 3, size=32), render(label, 3, size=64)
    assert small.captions == large.captions
    assert [box.label for box in small.boxes] == [box.label for box in large.boxes]
    for a, b in zip(small.boxes, large.boxes, strict=True):
        np.testing.assert_allclose(2 * a.corners, b.corners, atol=1e-4)


def test_boxes_are_clockwise_in_the_picture():
    for label in CLASSES:
        for box in render(label, 1).boxes:
            x, y = box.corners.T
            area = 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
            assert box.corners.shape == (4, 2)
            assert area > 0  # y points down, so clockwise is positive


def test_counts_in_words_are_counts_in_boxes():
    from eotune.data.scenes.words import NUMBERS

    for seed in range(6):
        scene = render("StorageTanks", seed)
        number = NUMBERS[len(scene.boxes)]
        assert any(number in caption for caption in scene.captions)


def test_all_classes_have_words_and_unknown_ones_are_refused():
    assert set(TEMPLATES) == set(CLASSES)
    with pytest.raises(InputError, match="did you mean 'Harbour'"):
        render("Harbor", 0)


def test_a_data_set_reads_back_and_repeats_no_place(tmp_path):
    from eotune.data.captions import read_captions

    captions = read_captions(write_dataset(tmp_path, {"train": 2, "test": 1}, size=24))
    assert len(captions) == 3 * len(CLASSES)
    contents = {captions.path(sample).read_bytes() for sample in captions.samples}
    assert len(contents) == len(captions)


def test_a_contact_sheet_holds_every_picture():
    scenes = [render("Forest", seed, size=16) for seed in range(3)]
    sheet = np.asarray(contact_sheet(scenes, columns=2, gap=2))
    np.testing.assert_array_equal(sheet[18:34, :16], scenes[2].image)
