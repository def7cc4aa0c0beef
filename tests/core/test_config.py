from typing import Annotated, Literal

import pytest
from pydantic import Discriminator, Tag

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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "-inf"])
def test_numbers_are_finite(value):
    (problem,) = validation_problems(Outer, {"name": "a", "inner": {"rate": value}})
    assert problem == f"'inner.rate': input should be a finite number (got {value!r})"


def test_a_key_far_from_all_known_ones_gets_their_list():
    assert validation_problems(Inner, {"zzz": 1}) == ["'zzz' is not a known key; known: epochs, rate"]


def test_configurations_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Inner().epochs = 3


class Square(Config):
    name: Literal["square"] = "square"
    side: int = 1


class Circle(Config):
    name: Literal["circle"] = "circle"
    radius: int = 1
    inner: Square | None = None


class Drawing(Config):
    shape: Annotated[
        Annotated[Square, Tag("square")] | Annotated[Circle, Tag("circle")],
        Discriminator(lambda value: value.get("name", "square") if isinstance(value, dict) else None),
    ]


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ({"side": "a"}, "'shape.side': input should be a valid integer"),
        ({"name": "circle", "radios": 3}, "'shape.radios' is not a known key; did you mean 'radius'?"),
        ({"name": "circle", "inner": {"sides": 1}}, "'shape.inner.sides' is not a known key; did you mean 'side'?"),
        ({"name": "circel"}, "'shape.name': unknown name 'circel'; did you mean 'circle'? Known: circle, square"),
        (3, "'shape': should be keys and values (got 3)"),
    ],
)
def test_an_error_inside_one_of_several_models_has_the_path_that_the_user_wrote(shape, problem):
    (found,) = validation_problems(Drawing, {"shape": shape})
    assert found.startswith(problem)
