import pytest

from eotune.core.errors import InputError
from eotune.runs.export_files import card_needs, sizes


def test_sizes_are_of_files_at_any_depth(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_bytes(b"123")
    (tmp_path / "a.txt").write_bytes(b"")
    assert list(sizes(tmp_path).items()) == [("a.txt", 0), ("b/c.txt", 3)]


def test_what_a_card_lacks_is_said_in_one_line(tmp_path):
    expected = r"model card needs \(KeyError: 'seed'\); restore a\.json, or run"
    with pytest.raises(InputError, match=expected), card_needs(tmp_path, "a.json"):
        {}["seed"]
