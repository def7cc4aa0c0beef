"""What a selection keeps is of the weights that it was computed with."""

import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from eotune.core.errors import InputError, InterruptedRunError
from eotune.encoders.tiny import WEIGHTS
from eotune.runs.select import select
from eotune.selection import workers
from eotune.selection.config import SelectionConfig


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    lines = [f'{{"image": "{n}.png", "question": "is thing number {n} there?", "answer": "yes"}}\n' for n in range(8)]
    (tmp_path / "set.jsonl").write_text("".join(lines))
    return tmp_path / "set.jsonl"


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(WEIGHTS, tmp_path / "model")


def retrain(model):
    weights = load_file(model / "model.safetensors")
    changed = {name: value * 1.1 if value.ndim > 1 else value for name, value in weights.items()}
    save_file(changed, model / "model.safetensors")


def config(samples, encoder, **settings):
    values = {"samples": samples, "encoder": encoder, "sentence_encoder": "tiny", "clusters": 2, "first_cut": False}
    return SelectionConfig.model_validate(values | settings)


def scores(out):
    return [row["score"] for row in pq.read_table(out / "selection.parquet").to_pylist()]


def test_scores_of_other_weights_are_not_taken_over(samples, model, tmp_path):
    chosen = config(samples, f"hf:{model}")
    select(chosen, tmp_path / "old")
    retrain(model)
    select(chosen, tmp_path / "fresh")
    select(chosen, tmp_path / "new", reuse=[tmp_path / "old"])
    assert scores(tmp_path / "new") == scores(tmp_path / "fresh") != scores(tmp_path / "old")


def test_embeddings_of_other_weights_are_not_taken_over(samples, model, tmp_path):
    chosen = config(samples, "tiny", sentence_encoder=f"hf:{model}")
    select(chosen, tmp_path / "old")
    retrain(model)
    select(chosen, tmp_path / "fresh")
    select(chosen, tmp_path / "new", reuse=[tmp_path / "old"])
    old, fresh, new = (np.load(tmp_path / name / "stages" / "vectors.npy") for name in ("old", "fresh", "new"))
    np.testing.assert_array_equal(new, fresh)
    assert (old != fresh).any()


def test_an_interrupted_selection_does_not_go_on_with_other_weights(samples, model, tmp_path, monkeypatch):
    chosen = config(samples, f"hf:{model}")
    scored, before = [], workers.ScorePairs.__call__

    def stop(self, table):
        scored.append(len(table))
        if len(scored) > 1:
            raise KeyboardInterrupt
        return before(self, table)

    with monkeypatch.context() as patch:
        patch.setattr(workers.ScorePairs, "__call__", stop)
        with pytest.raises(InterruptedRunError):
            select(chosen, tmp_path / "out", shard_size=4)
    retrain(model)
    with pytest.raises(InputError, match=r"'perturbation' was begun with other settings \(weights: .*choose another"):
        select(chosen, tmp_path / "out", shard_size=4, resume=True)
    shutil.copytree(WEIGHTS, model, dirs_exist_ok=True)  # as they were, at another time
    os.utime(model / "model.safetensors", (0, 0))
    assert select(chosen, tmp_path / "out", shard_size=4, resume=True)["kept"] == 2


def test_the_same_weights_in_another_folder_are_taken_over_without_loading(samples, model, tmp_path, monkeypatch):
    select(config(samples, f"hf:{model}", sentence_encoder=f"hf:{model}"), tmp_path / "old")
    moved = model.rename(tmp_path / "moved")
    monkeypatch.setattr(workers, "load_pairs", None)
    monkeypatch.setattr(workers, "load_sentence", None)
    again = config(samples, f"hf:{moved}", sentence_encoder=f"hf:{moved}", keep=0.5)
    assert select(again, tmp_path / "new", reuse=[tmp_path / "old"])["kept"] == 4


def test_a_run_that_was_trained_again_is_another_model(samples, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    chosen = config(samples, f"run:{run}")
    select(chosen, tmp_path / "old")
    (weights,) = (run / "adapter").glob("*.safetensors")
    save_file({name: value * 1.1 for name, value in load_file(weights).items()}, weights)
    select(chosen, tmp_path / "new", reuse=[tmp_path / "old"])
    assert scores(tmp_path / "new") != scores(tmp_path / "old")


def test_models_by_a_relative_path_are_found_from_another_folder(samples, model, tmp_path, monkeypatch):
    asked, before = [], workers.load_pairs
    monkeypatch.setattr(workers, "load_pairs", lambda name, **more: asked.append(name) or before(name, **more))
    monkeypatch.chdir(tmp_path)
    select(config(samples, "hf:./model", sentence_encoder="hf:model"), tmp_path / "out")
    assert asked == [f"hf:{tmp_path / 'model'}"]
    settings = (tmp_path / "out" / "selection.yaml").read_text()
    assert settings.count(f"hf:{tmp_path / 'model'}") == 2
