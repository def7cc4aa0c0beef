import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.encoders import load, tiny


def test_it_tells_colours_apart():
    """The weights are trained, and images, texts and tokens belong together."""
    encoder = load("tiny")
    colours = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 70, 200), "white": (245, 245, 245)}
    images = [np.full((64, 64, 3), value, np.uint8) for value in colours.values()]
    similarities = encoder.embed_images(images) @ encoder.embed_texts([f"a {name} square" for name in colours]).T
    assert similarities.argmax(0).tolist() == similarities.argmax(1).tolist() == [0, 1, 2, 3]


def test_sizes():
    encoder = load("tiny")
    assert (encoder.dim, encoder.max_tokens, encoder.transform.size) == (128, 40, 64)
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 5_000_000
    assert load("tiny", image_size=96).transform.size == 96


def test_missing_weights_are_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr(tiny, "WEIGHTS", tmp_path / "gone")
    with pytest.raises(InputError, match="gone: the bundled weights are missing; install eotune again"):
        load("tiny")
