import re
from pathlib import Path

import pytest

import eotune.methods
from eotune.core.errors import InputError
from eotune.methods import create, method_config, method_problems, names
from eotune.methods.base import Method


def test_names_are_the_files_that_define_a_method():
    folder = Path(eotune.methods.__file__).parent
    defining = {
        path.stem for path in folder.glob("*.py") if re.search(r"^class Method\(\w+\.Method\)", path.read_text(), re.M)
    }
    assert names() == sorted(defining)
    assert {"frozen", "full", "harma", "heads", "lora"} <= defining


@pytest.mark.parametrize("name", names())
def test_every_method_is_made_from_its_name_alone(name):
    method = create({"name": name})
    assert isinstance(method, Method)
    assert method.config.name == name
    assert create(method.config).config == method.config
    assert method_config(method.config.model_dump(mode="json")) == method.config


@pytest.mark.parametrize("name", ["base", "adapted", "weights", "harma_layers", "os.path", "", 7, None])
def test_modules_that_are_no_methods_are_unknown(name):
    with pytest.raises(InputError, match=f"unknown method .*Known: {', '.join(names())}"):
        create({"name": name})


def test_near_names_are_suggested():
    assert method_problems({"name": "harmma"}) == [
        f"'method.name': unknown method 'harmma'; did you mean 'harma'? Known: {', '.join(names())}"
    ]


def test_a_missing_name_is_said():
    assert method_problems({"rank": 3})[0].startswith("'method.name' is missing; name one of adapter, ")
    with pytest.raises(InputError, match="a.yaml: 'method.name' is missing"):
        method_config({}, source="a.yaml")


def test_all_problems_come_at_once():
    problems = method_problems({"name": "lora", "rank": 0, "target": "all-linear", "towers": "left"})
    assert len(problems) == 3
    with pytest.raises(InputError, match="a.yaml: 3 problems"):
        method_config({"name": "lora", "rank": 0, "target": "all-linear", "towers": "left"}, source="a.yaml")


def test_a_broken_import_inside_a_method_is_not_an_unknown_name(monkeypatch, tmp_path):
    (tmp_path / "broken_method.py").write_text("import package_that_is_not_there\n")
    monkeypatch.setattr(eotune.methods, "__path__", [*eotune.methods.__path__, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="package_that_is_not_there"):
        create({"name": "broken_method"})
