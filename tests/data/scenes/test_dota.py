import numpy as np

from eotune.data.scenes import render, write_dota


def test_label_files_read_back(tmp_path):
    scene = render("Junction", 1, size=96)
    write_dota(tmp_path / "a.txt", scene.boxes, ground_sampling=0.3)
    head, rows = (tmp_path / "a.txt").read_text().splitlines()[:2], (tmp_path / "a.txt").read_text().splitlines()[2:]
    assert head == ["imagesource:synthetic", "gsd:0.3"]
    assert len(rows) == len(scene.boxes) > 0
    for row, box in zip(rows, scene.boxes, strict=True):
        *numbers, label, difficult = row.split()
        assert (label, difficult) == (box.label, "0")
        np.testing.assert_allclose(np.array(numbers, float).reshape(4, 2), box.corners, atol=0.051)


def test_a_scene_without_objects_has_only_a_head(tmp_path):
    write_dota(tmp_path / "a.txt", render("Beach", 0, size=16).boxes)
    assert (tmp_path / "a.txt").read_text() == "imagesource:synthetic\ngsd:null\n"
