import pytest
import yaml

from eotune.core.errors import InputError
from eotune.runs.recipe import parse_recipe, read_recipe


def test_three_errors_come_in_one_message(recipe_values, tmp_path):
    values = recipe_values()
    values["training"]["lerning_rate"] = 1e-3
    values["method"]["bottelneck"] = 64
    values["task"]["objective"] = {"gama": 2}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 3 problems\n")
    assert "'training.lerning_rate' is not a known key; did you mean 'learning_rate'?" in message
    assert "'method.bottelneck' is not a known key; did you mean 'bottleneck'?" in message
    assert "'task.objective.gama' is not a known key; did you mean 'gamma'?" in message


def test_overrides_reach_into_the_recipe(recipe_values, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_values()))
    recipe = read_recipe(path, ["training.epochs=7", "encoder.image_size=32", "method={name: lora, rank: 2}"])
    assert recipe.training.epochs == 7
    assert (recipe.encoder.name, recipe.encoder.image_size) == ("tiny", 32)
    assert recipe.method == {"name": "lora", "rank": 2}
    with pytest.raises(InputError, match="is not KEY=VALUE"):
        read_recipe(path, ["training.epochs"])


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: [", "not valid YAML at line"), ("- 1", "holds list, not keys and values"), ("", "holds NoneType")],
)
def test_files_that_are_no_recipe(tmp_path, text, says):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_recipe(path)
    with pytest.raises(InputError, match="no such file"):
        read_recipe(tmp_path / "none.yaml")


def test_the_resolved_recipe_reads_back_as_itself(recipe_values):
    recipe = parse_recipe(recipe_values())
    assert parse_recipe(yaml.safe_load(recipe.to_yaml())) == recipe


def test_the_targets_of_a_resolved_recipe_are_found_from_another_folder(recipe_values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = parse_recipe({**recipe_values(), "selection": {"targets": "targets.jsonl", "targets_split": "val"}})
    assert yaml.safe_load(recipe.to_yaml())["selection"]["targets"] == str(tmp_path / "targets.jsonl")
