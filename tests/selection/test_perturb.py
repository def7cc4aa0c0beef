import hashlib
import itertools
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.core.errors import InputError
from eotune.selection.perturb import delete_words, word_spans

PLACEHOLDERS = ("<image>", "<ImageHere>", "<|image_pad|>", "<|vision_start|>", "<image_soft_token>", "<40>")
WORDS = st.text("abcXYZ09é港.,?'", min_size=1, max_size=6).filter(lambda word: any(map(str.isalnum, word)))
PIECES = st.lists(st.one_of(WORDS, st.sampled_from((*PLACEHOLDERS, "-", "?", "{", "<", ">"))), max_size=12)
BLANKS = st.sampled_from((" ", "  ", "\n", "\t", "\r\n"))


@st.composite
def texts(draw):
    return "".join(piece + draw(BLANKS) for piece in draw(PIECES))


def words(text):
    return [text[start:end] for start, end in word_spans(text)]


def placeholders(text):
    return re.findall(r"<[^<>\s]+>", text)


@given(texts(), st.integers(0, 6), st.integers(0, 3), st.integers(0, 2))
@settings(deadline=None)
def test_exactly_n_words_go_and_nothing_else(text, n, seed, repeat):
    perturbed = delete_words(text, n, id="a", seed=seed, repeat=repeat)
    before, after = words(text), words(perturbed)
    assert len(before) - len(after) == max(0, min(n, len(before) - 1))
    assert placeholders(perturbed) == placeholders(text)
    assert perturbed.count("\n") == text.count("\n")
    rest = iter(before)
    assert all(word in rest for word in after)  # a subsequence: the order stays
    assert Counter(re.sub(r"\s", "", perturbed)) <= Counter(re.sub(r"\s", "", text))


@given(texts(), st.floats(0.01, 0.99))
@settings(deadline=None)
def test_a_share_of_the_words_goes(text, share):
    count = len(words(text))
    gone = count - len(words(delete_words(text, share, id="a", seed=0)))
    assert gone == max(0, min(max(1, round(share * count)), count - 1))
    assert delete_words(text, gone, id="a", seed=0) == delete_words(text, share, id="a", seed=0)


@given(st.lists(st.tuples(st.integers(0, 99), texts()), min_size=1, max_size=6, unique_by=lambda item: item[0]))
@settings(deadline=None)
def test_the_order_of_samples_does_not_matter(samples):
    forward = {id_: delete_words(text, 2, id=id_, seed=1) for id_, text in samples}
    assert forward == {id_: delete_words(text, 2, id=str(id_), seed=1) for id_, text in reversed(samples)}


def test_id_seed_and_repeat_each_change_the_draw():
    text = " ".join(f"w{number}" for number in range(40))
    draws = [
        delete_words(text, 2, id=id_, seed=seed, repeat=repeat)
        for id_, seed, repeat in itertools.product("ab", (0, 1), (0, 1))
    ]
    assert len(set(draws)) == 8


def test_every_pair_of_words_is_equally_likely():
    drawn = Counter(delete_words("a b c d", 2, id=id_, seed=0) for id_ in range(6000))
    assert set(drawn) == {"a b", "a c", "a d", "b c", "b d", "c d"}
    chi_square = sum((count - 1000) ** 2 / 1000 for count in drawn.values())
    assert chi_square < 20.5  # 0.999 quantile with 5 degrees of freedom


def test_more_deletions_delete_the_same_words_and_further_ones():
    text = " ".join(f"w{number}" for number in range(9))
    left = [set(delete_words(text, n, id="x", seed=3).split()) for n in range(10)]
    assert all(after < before for before, after in itertools.pairwise(left[:9]))
    assert left[9] == left[8]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("<image>", []),
        ("<image>\nport", ["port"]),
        ("<image>Is<|image_pad|>it", ["Is", "it"]),
        ("x < y and y>z", ["x", "y", "and", "y>z"]),
        ("{<20><30>} box", ["box"]),
        ("<img>my port.jpg</img>a[IMG]b", ["a", "b"]),
        ("don't - stop", ["don't", "stop"]),
        ("这是<image>海港。船abc 港x", [*"这是海港船", "abc", "港", "x"]),
        ("ひこうキか\u3099", ["ひ", "こ", "う", "キ", "か\u3099"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("ខ្ញុំ។", ["ខ្ញុំ"]),
        ("မြန်", ["မြ", "န်"]),
        ("부두 порт", ["부두", "порт"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize("text", ["", "<image>", "<image>\nport", "?", "<image> - ?"])
def test_a_text_without_a_second_word_stays(text):
    assert delete_words(text, 2, id="a", seed=0) == text


def test_blanks_close_up_and_lines_stay():
    kept = {delete_words("<image>\none two\nthree", 1, id=id_, seed=0) for id_ in range(50)}
    assert kept == {"<image>\ntwo\nthree", "<image>\none\nthree", "<image>\none two\n"}


@pytest.mark.parametrize(
    ("text", "left"), [("A港B", "A B"), ("a船 def", "a def"), ("<p>港x", "<p> x"), ("看港，x", "看，x")]
)
def test_words_round_a_letter_stay_apart(text, left):
    found = {delete_words(text, 1, id=id_, seed=0) for id_ in range(50)}
    assert left in found
    assert {len(words(one)) for one in found} == {len(words(text)) - 1}


def test_texts_with_blanks_lose_the_words_that_they_always_lost():
    drawn, digest = random.Random(0), hashlib.sha256()
    pieces = [
        "Is", "it", "a", "port", "?", "don't", "<image>", "<|vision_start|>", "-", "planes,", "(white)", "é", "x", "9",
        "<40>", "a.b", "\n", "Straße", "Ελλάδα", "порт", "한국", "<p>", "é",
    ]  # fmt: skip
    for number in range(300):
        blanks = [" ", "  ", " ", "\n", ""]
        parts = [drawn.choice(pieces) + drawn.choice(blanks) for _ in range(drawn.randrange(0, 14))]
        text = "".join(parts)
        left = [delete_words(text, n, id=number, seed=1, repeat=2) for n in (0.3, 1, 2, 5)]
        digest.update(repr((text, word_spans(text), left)).encode())
    # As when words were what stands between blanks, in every script.
    assert digest.hexdigest()[:32] == "030d7d4bc909b798c512facd1aaf9ea8"


def test_a_negative_number_is_refused():
    with pytest.raises(InputError, match="0 or more, or a share below 1; got -1"):
        delete_words("a b", -1, id="a", seed=0)
