import json

import numpy as np
import pytest
import torch
from PIL import Image

from eotune import encoders
from eotune.data.augment import Augmentation
from eotune.data.cache import ImageCache
from eotune.data.captions import read_captions
from eotune.tasks.pairs import PairDataset, caption_key

CAPTIONS = (["A plane .", "a  plane .", "two ships ."], ["two ships .", "a road .", "a road ."])


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for index in range(2):
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    lines = [json.dumps({"image": f"{i}.png", "captions": texts}) for i, texts in enumerate(CAPTIONS)]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    captions = read_captions(folder / "captions.jsonl")
    cache = ImageCache([captions.path(sample) for sample in captions.samples])
    encoder = encoders.load("tiny")
    return lambda mode: PairDataset(captions, encoder, cache, Augmentation(randaugment=None), mode=mode, seed=3)


@pytest.mark.parametrize(("mode", "size"), [("distinct", 4), ("all", 6), ("images", 2)])
def test_an_epoch_is_what_the_mode_says(build, mode, size):
    assert len(build(mode)) == size


def test_equal_captions_share_a_number_across_images(build):
    data = build("distinct")
    assert data.pairing.pairs == [(0, 0), (0, 1), (1, 1), (1, 2)]
    assert caption_key("A plane .") == caption_key("a  plane .")


def test_an_item_depends_on_epoch_and_index_alone(build):
    data = build("images")
    first = data[(0, 1)]
    data[(0, 0)]
    again = data[(0, 1)]
    np.testing.assert_array_equal(first["pixels"], again["pixels"])
    assert not np.array_equal(first["pixels"], data[(1, 1)]["pixels"])
    assert {data[(epoch, 1)]["text"] for epoch in range(20)} == {1, 2}


def test_a_batch_is_cut_to_its_longest_text(build):
    data = build("distinct")
    batch = data.collate([data[(0, index)] for index in (0, 3)])
    assert batch["inputs"]["pixels"].shape == (2, 3, 64, 64)
    assert batch["inputs"]["pixels"].dtype == torch.uint8
    mask = batch["inputs"]["attention_mask"]
    assert int(mask.sum(1).max()) == mask.shape[1]
    assert batch["targets"]["image_ids"].tolist() == [0, 1]
