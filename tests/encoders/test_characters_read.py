"""How much of a text an encoder reads."""

import numpy as np
import pytest

from eotune.encoders import load
from eotune.encoders.characters_read import characters_read

LONG = "  white planes, parked; in an Airport -- beside unforgettable harbours of Ålesund and 港 " * 3


@pytest.fixture(scope="module")
def tokenizer():
    return load("tiny").tokenizer


class Slow:
    """A tokenizer that tells no offsets."""

    is_fast = False

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, text, **options):
        return self.tokenizer(text, **options)


@pytest.mark.parametrize("limit", [1, 2, 5, 17, 30])
def test_the_part_that_is_read_has_the_first_tokens(tokenizer, limit):
    tokens = tokenizer(LONG, add_special_tokens=False, verbose=False)["input_ids"]
    (end,) = characters_read(tokenizer, [LONG], limit)
    assert len(tokens) > limit
    assert 0 < end < len(LONG)
    assert len(tokenizer(LONG[:end], add_special_tokens=False)["input_ids"]) == limit
    (slow,) = characters_read(Slow(tokenizer), [LONG], limit)  # which takes other pieces of a word that is torn
    assert len(tokenizer(LONG[:slow], add_special_tokens=False)["input_ids"]) <= limit
    assert end - max(map(len, LONG.split())) <= slow <= end + 1


@pytest.mark.parametrize("slow", [False, True])
def test_a_text_that_fits_is_read_to_its_end(tokenizer, slow):
    texts = ["", "a", " a port \n"]
    found = characters_read(Slow(tokenizer) if slow else tokenizer, texts, 40)
    assert found.tolist() == list(map(len, texts))
    assert characters_read(tokenizer, [], 40).dtype == np.int64


def test_what_a_dual_encoder_reads_decides_its_embedding():
    encoder = load("tiny")
    (end,) = encoder.characters_read([LONG])
    read, before = LONG[:end], LONG[: end - 12]
    whole, same, other = encoder.embed_texts([LONG, read + " and a river", before + " a river"])
    np.testing.assert_allclose(whole, same, atol=1e-6)
    assert np.abs(whole - other).max() > 1e-3
