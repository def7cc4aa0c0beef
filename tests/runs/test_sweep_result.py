import json
from pathlib import Path

import pytest
import yaml

from eotune.core.errors import InputError
from eotune.runs.grid import make_plan
from eotune.runs.sweep_result import read_result


@pytest.fixture
def swept(recipe_values, tmp_path):
    """Write what the trials of a sweep leave; returns the plan and the directory."""

    def build(values, grid="training.learning_rate=0.001,0.01,0.1", seeds="0,1"):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(recipe_values("heads")))
        plan = make_plan(recipe, [grid], seeds)
        for trial, value in zip(plan.trials, values, strict=True):
            folder = tmp_path / "trials" / trial.name
            folder.mkdir(parents=True)
            if isinstance(value, str):
                (folder / "failed.json").write_text(json.dumps({"reason": value}))
            else:
                rows = [
                    {"metric": metric, "split": split, "model": model, "value": figure, "low": 0, "high": 100}
                    for split, figure in zip(("validation", "test"), value, strict=False)
                    for model, metric in (("zero-shot", "mR"), ("adapted", "R@1"), ("adapted", "mR"))
                ]
                (folder / "metrics.json").write_text(json.dumps(rows))
        return plan, tmp_path

    return build


def test_the_best_is_the_highest_mean_on_validation(swept):
    result = read_result(*swept([(1,), (3,), (2, 9), (4, 7), (2.5, 99), (2.5, 99)]))
    assert [point.validation.value for point in result.points] == [2, 3, 2.5]
    assert result.best == 1
    assert (result.points[1].test.value, result.points[1].test.n) == (8, 2)
    assert result.points[0].test is None
    assert result.warnings == ()
    assert result.axes == {"learning_rate": (0.001, 0.01, 0.1)}


def test_the_first_of_equals_is_the_best(swept):
    assert read_result(*swept([(1,), (1,), (1,)], seeds="0")).best == 0


def test_a_point_with_a_failed_trial_is_not_the_best(swept):
    result = read_result(*swept([(1,), (1,), (50,), "diverged", (2,), (2,)]))
    assert result.best == 2
    assert [point.failed for point in result.points] == [0, 1, 0]
    assert (result.points[1].validation.value, result.points[1].validation.n) == (50, 1)
    assert [(trial.name, trial.reason) for trial in result.failed] == [("learning_rate-0.01_seed-1", "diverged")]


def test_where_all_fail_none_is_best(swept):
    result = read_result(*swept(["no", "never"], grid="training.learning_rate=1", seeds="0,1"))
    assert (result.best, result.warnings, result.points[0].validation) == (None, (), None)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([(9,), (1,), (1,)], "0.001, lies at the lower edge of its grid: try smaller ones too"),
        ([(1,), (9,), (1,)], None),
        ([(1,), (1,), (9,)], "0.1, lies at the upper edge of its grid: try larger ones too"),
    ],
)
def test_a_best_learning_rate_at_the_edge_is_warned_of(swept, values, says):
    warnings = read_result(*swept(values, seeds="0")).warnings
    assert [says in warning for warning in warnings] == ([True] if says else [])


def test_other_axes_have_no_edges(swept):
    assert read_result(*swept([(9,), (1,)], grid="training.epochs=1,2", seeds="0")).warnings == ()


def test_what_json_can_hold(swept):
    values = read_result(*swept([(1,), "no"], seeds="0", grid="training.epochs=1,2")).to_dict()
    assert json.loads(json.dumps(values))["points"][1]["trials"][0]["reason"] == "no"


def test_a_broken_file_is_named(swept):
    plan, out = swept([(1,)], seeds="0", grid="training.epochs=1")
    file = Path(out / "trials" / plan.trials[0].name / "metrics.json")
    file.write_text("[")
    with pytest.raises(InputError, match="metrics.json: not valid JSON"):
        read_result(plan, out)
