import pytest
from pydantic import ValidationError

from eotune.selection.config import SelectionRule


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"name": "stratified"}),
        ({"strategy": None}, {"name": "stratified"}),
        ({"encoder": "tiny"}, {"name": "perturbation"}),
        ({"encoder": "tiny", "strategy": {"quota": "equal"}}, {"name": "perturbation", "quota": "equal"}),
        ({"encoder": "tiny", "strategy": {"name": "random"}}, {"name": "random"}),
        ({"strategy": {"name": "perturbation"}}, {"name": "perturbation"}),
    ],
)
def test_a_strategy_that_is_not_named_needs_no_more_than_what_is(given, expected):
    assert SelectionRule(**given).strategy == expected


@pytest.mark.parametrize("strategy", ["random", ["random"], 3])
def test_a_strategy_of_another_form_is_refused(strategy):
    with pytest.raises(ValidationError, match="valid dictionary"):
        SelectionRule(strategy=strategy)
