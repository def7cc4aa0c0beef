import pytest

from eotune.core.errors import MissingExtraError
from eotune.core.lookup import nearest, require, resolve, unknown_name


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
