import importlib

import pytest

from eotune.core.errors import InputError, MissingExtraError
from eotune.core.lookup import Family, nearest, require, resolve, unknown_name


def test_nearest_and_its_absence():
    assert nearest("bottelneck", ["bottleneck", "heads"]) == "bottleneck"
    assert nearest("xyz", ["bottleneck"]) is None
    assert "did you mean" not in str(unknown_name("method", "xyz", ["lora"]))


def test_resolve_imports_what_is_named():
    assert resolve("collections:OrderedDict").__name__ == "OrderedDict"


def test_a_missing_extra_names_its_command(monkeypatch, tmp_path):
    with pytest.raises(MissingExtraError, match=r"pip install 'eotune\[interop\]'") as caught:
        require("not_a_package_at_all", "interop")
    assert caught.value.exit_code == 2
    (tmp_path / "broken_inside.py").write_text("import another_missing_one\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="another_missing_one"):
        require("broken_inside", "interop")


def test_a_family_is_found_by_its_files(tmp_path, monkeypatch):
    (tmp_path / "herd").mkdir()
    (tmp_path / "herd" / "__init__.py").write_text("")
    (tmp_path / "herd" / "base.py").write_text(
        "import abc\n\nclass Animal(abc.ABC):\n    @abc.abstractmethod\n    def sound(self): ...\n"
    )
    (tmp_path / "herd" / "cow.py").write_text(
        "from herd import base\n\nclass Animal(base.Animal):\n    def sound(self): ...\n"
    )
    (tmp_path / "herd" / "grass.py").write_text("from herd.base import Animal\n")  # another module's class
    (tmp_path / "herd" / "broken.py").write_text("import nowhere_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    base = importlib.import_module("herd.base").Animal
    family = Family("animal", "herd", base)
    assert family.named("cow").__module__ == "herd.cow"
    assert family.find("grass") is None
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        family.find("broken")
    (tmp_path / "herd" / "broken.py").unlink()
    with pytest.raises(InputError, match=r"unknown animal 'cwo'; did you mean 'cow'\? Known: cow"):
        family.named("cwo")
