import itertools

import pytest
import yaml

from eotune.core.errors import InputError
from eotune.runs.grid import make_plan, parse_axes, parse_seeds, text_of
from eotune.runs.recipe import read_recipe


@pytest.fixture
def write(recipe_values, tmp_path):
    def build(method="lora", **changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**recipe_values(method), **changes}))
        return path

    return build


def test_every_combination_meets_every_seed(write):
    plan = make_plan(write(), ["method.rank=2,4", "training.learning_rate=1e-4,1e-3"], "0,5", ["training.epochs=3"])
    expected = list(itertools.product((2, 4), (1e-4, 1e-3), (0, 5)))
    recipes = [trial.recipe for trial in plan.trials]
    assert [(one.method["rank"], one.training.learning_rate, one.seed) for one in recipes] == expected
    assert {one.training.epochs for one in recipes} == {3}
    assert plan.trials[1].name == "rank-2_learning_rate-0.0001_seed-5"
    assert plan.trials[1].recipe.name == "small_rank-2_learning_rate-0.0001_seed-5"
    assert [trial.point for trial in plan.trials] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert plan.label(3) == "rank=4, learning_rate=0.001"


def test_the_recipes_own_seed_is_taken_where_none_is_given(write):
    assert make_plan(write(seed=7), ["method.rank=2,4"]).seeds == (7,)
    seeds = make_plan(write(), (), "1,2")
    assert [trial.name for trial in seeds.trials] == ["seed-1", "seed-2"]
    assert seeds.label(0) == "small"
    with pytest.raises(InputError, match="nothing to sweep over; give --grid"):
        make_plan(write())


def test_a_recipe_may_hold_its_sweep(write):
    path = write(sweep={"grid": {"method.rank": [2, 4], "training.learning_rate": ["1e-3"]}, "seeds": [0, 1]})
    plan = make_plan(path)
    assert [axis.key for axis in plan.axes] == ["method.rank", "training.learning_rate"]
    assert plan.axes[1].values == (0.001,)
    assert (plan.seeds, len(plan.trials)) == ((0, 1), 4)
    other = make_plan(path, ["method.rank=8", "training.epochs=1,2"], "3")
    assert {axis.key: axis.values for axis in other.axes} == {
        "method.rank": (8,), "training.learning_rate": (0.001,), "training.epochs": (1, 2),
    }  # fmt: skip
    assert other.seeds == (3,)
    assert make_plan(path, (), None, ["sweep.seeds=[4]"]).seeds == (4,)
    with pytest.raises(InputError, match=r"recipe.yaml: describes a sweep, not one run; .* eotune sweep .*yaml"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ([1], r"sweep: holds \[1\]; write sweep:"),
        ({"gird": {}}, "'sweep.gird' is not a known key; did you mean 'grid'"),
        ({"grid": {"method.rank": 2}}, "'sweep.grid.method.rank': .*valid list"),
        ({"grid": {"method.rank": []}}, "sweep.grid.method.rank: has no values"),
        ({"grid": {"method.rank": [2, 2]}}, "sweep.grid.method.rank: a value stands twice"),
        ({"grid": {"seed": [1, 2]}}, "sweep.grid.seed: seed is no setting to compare"),
        ({"grid": {"method..rank": [1]}}, "'method..rank' is no setting"),
        ({"seeds": [0, -1]}, "'sweep.seeds.1': .*greater than or equal to 0"),
        ({"seeds": [0, 0]}, "sweep.seeds: a seed stands twice"),
        ({"seeds": []}, "sweep.seeds: names none"),
    ],
)
def test_a_wrong_section_is_one_clear_line(write, section, says):
    with pytest.raises(InputError, match=says) as caught:
        make_plan(write(sweep=section))
    assert "recipe.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("method.rank", "is not KEY=V,V"),
        ("=1,2", "'' is no setting"),
        ("a.=1", "'a.' is no setting"),
        ("method.rank=", "--grid method.rank: has no values"),
        ("method.rank=1,1", "a value stands twice"),
        ("training.learning_rate=1e-3,0.001", "a value stands twice"),
        ("method.rank={", "not valid YAML"),
        ("method.rank=2020-13-45", "not valid YAML"),
        ("seed=1,2", "seed is no setting to compare; repeat with --seeds"),
    ],
)
def test_a_wrong_grid_is_one_clear_line(text, says):
    with pytest.raises(InputError, match=says):
        parse_axes([text])


def test_a_key_stands_once():
    with pytest.raises(InputError, match="--grid a.b: stands twice; put all its values in one --grid a.b=V,V"):
        parse_axes(["a.b=1", "a.b=2"])


@pytest.mark.parametrize("text", ["", "1,,2", "a", "-1", "1.5", "٣"])
def test_wrong_seeds_are_refused(text):
    with pytest.raises(InputError, match="is not a whole number of 0 or more"):
        parse_seeds(text)


def test_all_problems_of_all_trials_are_in_one_message(write):
    with pytest.raises(InputError) as caught:
        make_plan(write(), ["method.rank=2,x", "training.epochs=1,-1", "training.learnig_rate=1"])
    message = str(caught.value)
    assert "3 problems" in message
    assert all(part in message for part in ("method.rank", "training.epochs", "did you mean 'learning_rate'"))


def test_axes_of_the_same_last_part_keep_their_whole_key():
    axes = parse_axes(["encoder.name=tiny,other", "method.name=lora", "method.rank=1"])
    assert [axis.name for axis in axes] == ["encoder.name", "method.name", "rank"]


def test_names_of_trials_are_names_of_files_and_differ(write):
    grid = ["method={name: lora, rank: 2},{name: lora, rank: 4},{name: heads}", "task.pairs=distinct,all"]
    names = [trial.name for trial in make_plan(write(), grid).trials]
    assert names[0] == "method-lora-rank-2_pairs-distinct_seed-0"
    long = make_plan(write(), ["encoder.name=" + ",".join("x" * 150 + end for end in "aA/")]).trials
    assert len({trial.name.casefold() for trial in long} | {name.casefold() for name in names}) == 9
    assert all(len(trial.name) < 150 and "/" not in trial.name for trial in long)


def test_values_as_text():
    assert text_of([1, [0.5, "a"]]) == "1 0.5 a"
    assert text_of({"crop": [0.5, 1.0], "flip": False}) == "crop=0.5 1 flip=false"


def test_cases_change_several_settings_at_once(write):
    cases = {"easy": {"method": {"name": "lora"}}, "hard": {"method": {"name": "harma"}, "task.objective.margin": 0.4}}
    plan = make_plan(write(sweep={"cases": cases, "grid": {"training.epochs": [1, 2]}}))
    assert [plan.label(number) for number in range(4)] == [
        "case=easy, epochs=1", "case=easy, epochs=2", "case=hard, epochs=1", "case=hard, epochs=2",
    ]  # fmt: skip
    assert [trial.recipe.method["name"] for trial in plan.trials] == ["lora", "lora", "harma", "harma"]
    assert plan.trials[3].recipe.task.objective == {"margin": 0.4}
    chosen = make_plan(write(sweep={"cases": cases}), ["case=hard"])
    assert [trial.name for trial in chosen.trials] == ["case-hard_seed-0"]


def test_an_override_of_a_part_reaches_a_case_that_sets_the_whole(write):
    cases = {"small": {"method": {"name": "lora", "rank": 2}}, "plain": {"method": {"name": "lora"}}}
    plan = make_plan(write(sweep={"cases": cases}), overrides=["method.dropout=0.1", "method.rank=16"])
    assert [trial.recipe.method for trial in plan.trials] == 2 * [{"name": "lora", "rank": 16, "dropout": 0.1}]
    ranks = make_plan(write(sweep={"cases": cases}), ["method.rank=3,4"], overrides=["method.dropout=0.1"])
    assert [trial.recipe.method["rank"] for trial in ranks.trials] == [3, 4, 3, 4]
    assert {trial.recipe.method["dropout"] for trial in ranks.trials} == {0.1}


def test_an_override_gives_way_to_a_case_of_the_same_key(write):
    cases = {"gentle": {"training.learning_rate": 1e-5}, "plain": {}}
    plan = make_plan(write(sweep={"cases": cases}), overrides=["training.learning_rate=1e-3"])
    assert [trial.recipe.training.learning_rate for trial in plan.trials] == [1e-5, 1e-3]


@pytest.mark.parametrize(
    ("cases", "grid", "override"),
    [
        ({}, ["training.epochs=1,2"], "training.epochs=3"),
        ({}, ["method={name: lora},{name: heads}"], "method={name: harma}"),
        ({"one": {"training.epochs": 1}, "two": {"training.epochs": 2}}, [], "training.epochs=3"),
        ({"one": {"method": {"name": "lora"}}}, ["method.rank=2,4"], "method.rank=8"),
    ],
)
def test_an_override_that_reaches_no_trial_is_refused(write, cases, grid, override):
    with pytest.raises(InputError, match=rf"--set {override.partition('=')[0]}: every trial has its own"):
        make_plan(write(sweep={"cases": cases}), grid, overrides=[override])


@pytest.mark.parametrize("grid", ["case=easy,hardd", "case={easy: 1}", "case=1"])
def test_a_case_that_is_not_written_is_refused(write, grid):
    with pytest.raises(InputError, match="unknown case .*Known: easy, hard"):
        make_plan(write(sweep={"cases": {"easy": {}, "hard": {"method.bottleneck": 4}}}), [grid])


def test_a_case_cannot_set_the_seed(write):
    with pytest.raises(InputError, match=r"sweep\.cases\.one: seed is no setting to compare"):
        make_plan(write(sweep={"cases": {"one": {"seed": 3}}}))
