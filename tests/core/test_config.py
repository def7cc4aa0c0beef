import pytest

from eotune.core.config import Config, parse, validation_problems
from eotune.core.errors import InputError


class Inner(Config):
    epochs: int = 5
    rate: float = 0.1


class Outer(Config):
    name: str
    inner: Inner = Inner()
    maybe: Inner | None = None


def test_every_error_comes_in_one_pass_with_its_path_and_the_nearest_key():
    values = {"inner": {"epoch": 3, "rate": "fast"}, "maybe": {"rat": 1}}
    problems = validation_problems(Outer, values)
    assert problems == [
        "'name' is missing",
        "'inner.rate': input should be a valid number, unable to parse string as a number (got 'fast')",
        "'inner.epoch' is not a known key; did you mean 'epochs'?",
        "'maybe.rat' is not a known key; did you mean 'rate'?",
    ]
    with pytest.raises(InputError, match=r"a\.yaml: 4 problems"):
        parse(Outer, values, source="a.yaml")


def test_a_key_far_from_all_known_ones_gets_their_list():
    assert validation_problems(Inner, {"zzz": 1}) == ["'zzz' is not a known key; known: epochs, rate"]


def test_configurations_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Inner().epochs = 3
