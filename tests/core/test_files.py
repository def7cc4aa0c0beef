import pytest

from eotune.core.errors import InputError
from eotune.core.files import (
    named_disk_errors,
    new_directory,
    read_json,
    replaced,
    sha256,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")

    def fail():
        with replaced(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_round_trip_and_refusal_of_nan(tmp_path):
    write_json(tmp_path / "a.json", {"ä": [1, 2.5]})
    assert read_json(tmp_path / "a.json") == {"ä": [1, 2.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b'{"a": ', "line 1, column 7"), (b"\xff\xfe", "cannot be read"), (b"[" * 100_000, "nested too deeply")],
)
def test_broken_json_is_told_with_its_place(tmp_path, content, says):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_json(path)


def test_missing_files_and_directories(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="is a directory"):
        read_json(tmp_path)


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_a_new_directory_is_whole_or_not_there(tmp_path):
    def fail():
        with new_directory(tmp_path / "a" / "b") as folder:
            (folder / "half.txt").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert not any((tmp_path / "a").iterdir())
    with new_directory(tmp_path / "a" / "b") as folder:
        (folder / "whole.txt").write_text("whole")
        (folder / "whole.txt").chmod(0o600)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "a" / "b", tmp_path / "a" / "b" / "whole.txt")]
    assert modes == [0o755, 0o644]
    with pytest.raises(InputError, match="is there already"):
        new_directory(tmp_path / "a" / "b").__enter__()


@pytest.mark.parametrize(
    ("raised", "number", "named"),
    [
        (OSError(28, "No space left on device"), 28, "a.bin"),
        (OSError(28, "No space left on device", "/tmp/other"), 28, "/tmp/other"),
        (RuntimeError("Error while serializing: I/O error: Disk quota exceeded (os error 122)"), 122, "a.bin"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 2 vs 1"), 5, "a.bin"),
    ],
)
def test_a_write_that_fails_names_its_file(tmp_path, raised, number, named):
    def fail():
        with named_disk_errors(tmp_path / "a.bin"):
            raise raised

    with pytest.raises(OSError, match=named) as caught:
        fail()
    assert (caught.value.errno, caught.value.filename) == (number, named if "/" in named else str(tmp_path / named))


def test_other_errors_of_a_write_pass(tmp_path):
    with pytest.raises(RuntimeError, match="a defect"), named_disk_errors(tmp_path / "a.bin"):
        raise RuntimeError("a defect")
