import numpy as np

from eotune.data.captions import read_captions
from eotune.data.inventory import take_inventory


def test_stock_is_taken_of_what_can_be_read(jsonl):
    path = jsonl([{"image": f"{i}.png", "captions": ["A pond .", "a pond"]} for i in range(4)])
    captions = read_captions(path)
    captions.path(1).write_bytes(b"")
    captions.path(3).unlink()
    inventory = take_inventory(captions, with_footprints=True)
    assert [item is None for item in inventory.fingerprints] == [False, True, False, True]
    assert inventory.texts[0] == ("a pond", "a pond")
    assert inventory.footprints == (None,) * 4
    assert len(inventory.problems) == 2
    assert "1.png: the image is empty" in inventory.problems[0]
    assert "3.png: no such image" in inventory.problems[1]
    part = inventory.subset([2, 1])
    assert part.fingerprints == (inventory.fingerprints[2], None)
    assert [sample.image for sample in part.captions.samples] == ["2.png", "1.png"]


def test_footprints_are_taken_where_asked(jsonl, geotiff, tmp_path):
    geotiff(np.ones((3, 4, 4), np.uint8), name="a.tif", crs="EPSG:4326", transform=(1, 0, 0, 0, -1, 4))
    captions = read_captions(jsonl([{"image": "a.tif", "captions": ["x"]}]))
    assert take_inventory(captions).footprints == (None,)
    assert take_inventory(captions, with_footprints=True).footprints[0].bounds == (0, 0, 4, 4)
