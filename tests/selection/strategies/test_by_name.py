import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.selection.result import Columns
from eotune.selection.strategies import by_name


def test_the_names_are_those_of_the_files():
    assert by_name.names() == [
        "k_center",
        "nearest",
        "perplexity",
        "perturbation",
        "random",
        "representative",
        "semdedup",
        "similarity",
        "stratified",
    ]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "pertubation"}, "unknown strategy 'pertubation'; did you mean 'perturbation'?"),
        ({"name": "base"}, "unknown strategy 'base'"),
        ({"name": "../random"}, "unknown strategy"),
        ({"name": 3}, "unknown strategy '3'"),
        ({}, "a.yaml: 'select.strategy.name' is missing; name one of k_center"),
        ({"name": "random", "qouta": "equal"}, "a.yaml: 'select.strategy.qouta' is not a known key; did you mean"),
        ({"name": "k_center", "quota": "global"}, "'select.strategy.quota': input should be 'proportional'"),
    ],
)
def test_wrong_configurations(config, message):
    with pytest.raises(InputError) as error:
        by_name.create(config, source="a.yaml", prefix="select.strategy")
    assert message in str(error.value)


def test_a_validated_configuration_is_taken():
    config = by_name.create({"name": "random"}).config
    assert by_name.create(config).config is config


def test_a_column_of_another_length_is_refused():
    columns = Columns(np.arange(3), np.ones(3, bool), clusters=np.zeros(2, int))
    with pytest.raises(InputError, match="'clusters' has 2 rows for 3 samples"):
        by_name.create({"name": "stratified"}).choose(columns, 1, 0)
