"""Damaged files are read or refused in one clear line: fresh ones, and those that once were neither."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.fixture(scope="module")
def fuzz():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        spec = importlib.util.spec_from_file_location("fuzz", SCRIPTS / "fuzz.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        sys.modules.pop("mutations", None)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_was_mended_stays_so(fuzz, path, tmp_path):
    kind, _, _, name = path.name.split("-", 3)
    (tmp_path / name).write_bytes(path.read_bytes())
    assert fuzz.defect(kind, tmp_path / name) is None


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("captions", 100),
        ("instructions", 100),
        ("recipe", 60),
        ("image", 100),
        ("checkpoint", 60),
        ("adapter", 10),
        ("preprocessor", 30),
    ],
)
def test_fresh_damage(fuzz, kind, count, tmp_path):
    seeds = fuzz.KINDS[kind][0]()
    for name, data, _ in seeds:
        (tmp_path / name).write_bytes(data)
        assert fuzz.defect(kind, tmp_path / name) is None, f"{name}, undamaged"
    for number in range(count):
        name, data = fuzz.case(kind, 99, number, seeds)
        (tmp_path / name).write_bytes(data)
        assert fuzz.defect(kind, tmp_path / name) is None, f"{kind} 99 {number}"


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (ValueError("oops"), "ValueError: oops"),
        (MemoryError(), "MemoryError"),
        ("two\nlines", "more than one line"),
        ("a" * 6000, "message of 6000 characters"),
        ("\ud800", "message cannot be printed"),
        (UserWarning("careful"), "warning: UserWarning: careful"),
    ],
)
def test_what_counts_as_a_defect(fuzz, monkeypatch, tmp_path, raised, says):
    import warnings

    from eotune.core.errors import InputError

    def read(path):
        if isinstance(raised, Warning):
            warnings.warn(raised, stacklevel=1)
        else:
            raise InputError(raised) if isinstance(raised, str) else raised

    monkeypatch.setitem(fuzz.KINDS, "image", (list, read))
    assert fuzz.defect("image", tmp_path).startswith(says)


def test_a_message_that_rasterio_cannot_log_is_not_printed():
    """In a process of its own: the message goes through the interpreter's hooks, which pytest replaces."""
    path = next(one for one in CORPUS if one.name.startswith("image-41-2152"))
    code = "import sys; from eotune.data.rasters import read_bands; print(read_bands(sys.argv[1]).shape)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "UnicodeDecodeError" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "UnicodeDecodeError" in subprocess.run(
        [sys.executable, "-c", f"import rasterio; rasterio.open({str(path)!r}).read()"],
        capture_output=True, text=True, check=False,
    ).stderr  # or else there is nothing to keep quiet  # fmt: skip
