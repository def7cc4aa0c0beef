import json

import pytest
from PIL import Image

from eotune.cli.main import main


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    for name, colour in {"red": (200, 20, 20), "green": (20, 200, 20)}.items():
        Image.new("RGB", (40, 40), colour).save(folder / f"{name}_20240131.png")
    return folder


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["eotune", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_index_then_query(archive, tmp_path, monkeypatch, capsys):
    index = tmp_path / "index"
    assert run(monkeypatch, "index", archive, "--encoder", "tiny", "--out", index, "--json") == 0
    assert json.loads(capsys.readouterr().out)["tiles"] == 2
    image = archive / "green_20240131.png"
    assert run(monkeypatch, "query", index, "--image", image, "--top", 1, "--json", "--since", "2024-01-31") == 0
    (feature,) = json.loads(capsys.readouterr().out)["features"]
    assert feature["properties"]["path"] == image.name
    assert run(monkeypatch, "query", index, "a pond", "--out", tmp_path / "a.png") == 0
    assert (tmp_path / "a.png").is_file()
    capsys.readouterr()
    (archive / "broken.png").write_bytes(b"\x89PNG no picture")
    assert run(monkeypatch, "index", archive, "--encoder", "tiny", "--out", index) == 1
    assert "broken.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("query", "nowhere", "x"), "holds no index"),
        (("query", "nowhere", "x", "--out", "a.shp"), "format of --out"),
        (("query", "nowhere", "x", "--bbox", "1,2"), "four numbers"),
        (("index", "nowhere", "--encoder", "tiny", "--out", "x"), "no such folder"),
        (("index", ".", "--encoder", "tiny", "--out", "x", "--tile-size", "big"), "size wants"),
        (("index", ".", "--encoder", "tiny", "--out", "x", "--precision", "fp8"), "unknown precision"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
