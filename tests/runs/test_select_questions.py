"""Selections of questions: several about an image, records that say more than is embedded, folders of files."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eotune.core.errors import EotuneError, InputError
from eotune.engines.local import LocalEngine
from eotune.runs.select import select
from eotune.runs.select_plan import plan
from eotune.runs.selected import _choose
from eotune.runs.workshop import Workshop
from eotune.selection import workers
from eotune.selection.config import SelectionConfig
from eotune.selection.strategies.by_name import create

QUESTIONS = 36  # three of each image


def record(number, **more):
    question = f"is thing number {number} there?"
    return {"id": f"r{number}", "image": f"{number // 3}.png", "question": question, "answer": "yes", **more}


def write(file, records):
    file.write_text("\n".join(map(json.dumps, records)) + "\n")
    return file


@pytest.fixture
def samples(tmp_path):
    folder = tmp_path / "set" / "images"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(QUESTIONS // 3):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return write(tmp_path / "set" / "set.jsonl", map(record, range(QUESTIONS)))


def config(samples, **settings):
    values = {"samples": samples, "sentence_encoder": "tiny", "clusters": 3, **settings}
    return SelectionConfig.model_validate(values)


@pytest.fixture
def computed(monkeypatch):
    """Rows that workers were given, by class; cleared by who reads it."""
    counts = {}
    for name in ("ReadImages", "EmbedTexts", "ScorePairs"):
        kind = getattr(workers, name)

        def call(self, table, *, name=name, before=kind.__call__):
            counts[name] = counts.get(name, 0) + len(table)
            return before(self, table)

        monkeypatch.setattr(kind, "__call__", call)

    def read():
        found = dict(counts)
        counts.clear()
        return found

    return read


def reasons(out):
    return [row["reason"] for row in pq.read_table(out / "selection.parquet").to_pylist()]


@pytest.mark.parametrize(("text", "near"), [("both", None), ("answer", 0.9)])
def test_different_questions_with_one_answer_are_no_duplicates(samples, tmp_path, text, near):
    rows = [record(0), record(1), record(0, id="s"), record(0, id="no", answer="no"), record(3, image="3.png")]
    write(samples, rows)
    select(config(samples, text=text, clusters=1, keep=1, near=near), tmp_path / "out")
    found = dict(zip([row["id"] for row in rows], reasons(tmp_path / "out"), strict=True))
    assert found["s"] == "exact-duplicate"
    assert {found[name] for name in ("r0", "r1", "no", "r3")} == {"kept"}


def test_texts_that_differ_where_the_encoder_does_not_read_are_no_duplicates(samples, tmp_path, capsys):
    same = " ".join(f"w{number}" for number in range(90))
    rest = [" ".join(f"x{number}y{word}" for word in range(90)) for number in range(18)]
    rows = [record(0, id=f"r{number}", question=f"{same} {end}") for number, end in enumerate(rest)]
    short = [record(0, id=f"s{number}", question=f"how many boats{end}") for number, end in enumerate(("?", " ?"))]
    write(samples, [*rows, *short])
    summary = select(config(samples, encoder="tiny", clusters=1, keep=1), tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "selection.parquet").to_pylist()
    assert [row["reason"] for row in table] == ["kept"] * 19 + ["near-duplicate"]
    assert summary["cut"] == {"texts": 18, "perturbation": 18}
    assert "warning: texts: 18 texts are longer than the encoder reads" in capsys.readouterr().err
    assert "Perturbation: 18 texts are longer than the encoder reads" in (tmp_path / "out" / "report.html").read_text()


def test_chinese_texts_are_ranked_by_what_they_say(samples, tmp_path):
    places = ["海港里停着三艘白色的船", "森林旁边有一条弯弯的河", "机场上有两架飞机", "城市里有许多红色的屋顶"]
    write(samples, [record(3 * number, question=place) for number, place in enumerate(places)])
    summary = select(config(samples, encoder="tiny", clusters=1, keep="1/2"), tmp_path / "out")
    scores = pq.read_table(tmp_path / "out" / "selection.parquet")["score"].to_pylist()
    assert len(set(scores)) == 4
    assert summary["warnings"] == []


def test_texts_of_one_word_have_no_score_and_many_are_warned_of(samples, tmp_path, capsys):
    rows = [record(3 * number, question="what?" if number < 2 else f"is there a {word}") for number, word in
            enumerate(["", "", "port", "forest", "road", "field"])]  # fmt: skip
    write(samples, rows)
    summary = select(config(samples, encoder="tiny", clusters=1, keep=1), tmp_path / "out")
    assert reasons(tmp_path / "out") == ["unscored"] * 2 + ["kept"] * 4
    warning = "perturbation: 2 texts have a single word, which cannot be deleted; they have no score"
    fewer = "4 samples are kept of the 6 asked for: the first cut leaves no more but 2 that have no score"
    assert (summary["failed"], summary["warnings"]) == (0, [fewer, warning])
    assert f"warning: {warning}" in capsys.readouterr().err
    assert warning[1:] in (tmp_path / "out" / "report.html").read_text()
    write(samples, rows[:2])
    with pytest.raises(InputError, match="no text has two words, and one must stay; choose another strategy"):
        select(config(samples, encoder="tiny", first_cut=False, clusters=1, keep=1), tmp_path / "none")


def test_a_set_that_asks_one_question_is_one_cluster(samples, tmp_path):
    write(samples, [record(3 * number, question="What is this?", answer=f"a {number}") for number in range(12)])
    settings = {"encoder": "tiny", "text": "question", "clusters": [2, 4], "keep": "1/3"}
    summary = select(config(samples, **settings), tmp_path / "out")
    assert (summary["kept"], summary["clusters"]) == (4, 1)
    assert summary["warnings"] == ["clusters: all texts have the same embedding, so that they are one cluster"]
    assert "Clusters: all texts have the same embedding" in (tmp_path / "out" / "report.html").read_text()


def test_scores_that_rank_nothing_are_warned_of(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(workers.ScorePairs, "_moved", lambda self, images, rows: np.zeros(len(rows)))
    summary = select(config(samples, encoder="tiny", first_cut=False), tmp_path / "out")
    assert summary["warnings"] == ["perturbation: all 36 scores are equal, so that ids alone decide"]


def test_a_single_sample_has_no_ranking_to_compare(samples, tmp_path):
    write(samples, [record(0, id=name) for name in "abc"])
    summary = select(config(samples, encoder="tiny", clusters=1, keep=1, stability=10), tmp_path / "out")
    assert (summary["kept"], summary["rankings"]) == (1, None)
    assert summary["warnings"][1:] == ["stability: fewer than two samples have a score, so that no ranking is compared"]


def test_the_numbers_of_clusters_to_try_suit_a_few_records(samples, tmp_path):
    write(samples, [record(3 * number) for number in range(5)])
    chosen = SelectionConfig(samples=samples, sentence_encoder="tiny", keep=1)
    assert select(chosen, tmp_path / "out")["kept"] == 5


def test_conversations_that_differ_in_a_later_turn_are_no_duplicates(samples, tmp_path):
    def conversation(name, second):
        said = ["<image>\nDescribe.", "A port.", second, f"{second} 4"]
        turns = [{"from": ("human", "gpt")[at % 2], "value": text} for at, text in enumerate(said)]
        return {"id": name, "image": "0.png", "conversations": turns}

    seconds = {"a": "How many ships?", "b": "How many cranes?", "c": "How  many SHIPS?"}
    write(samples, [conversation(*one) for one in seconds.items()])
    select(config(samples, clusters=1, keep=1), tmp_path / "out")
    assert reasons(tmp_path / "out") == ["kept", "kept", "exact-duplicate"]


def test_an_image_that_the_encoder_refuses_takes_its_questions_alone(samples, tmp_path, monkeypatch):
    Image.fromarray(np.zeros((1, 400, 3), np.uint8)).save(samples.parent / "images" / "strip.png")
    strip = [record(number, id=f"s{number}", image="strip.png") for number in range(40)]
    write(samples, [*map(record, range(QUESTIONS)), *strip])
    before = workers.DualPairEncoder.perturbed_distances

    def refuse(self, images, *others, **more):
        if any(image.shape[1] == 400 for image in images):
            raise InputError("its aspect ratio is above 200")
        return before(self, images, *others, **more)

    monkeypatch.setattr(workers.DualPairEncoder, "perturbed_distances", refuse)
    summary = select(config(samples, encoder="tiny", first_cut=False, keep=0.2, stability=70), tmp_path / "out")
    assert (summary["kept"], summary["failed"], summary["counts"]["unscored"]) == (15, 40, 40)
    assert summary["failures"][0]["error"].startswith("its aspect ratio")
    monkeypatch.setattr(
        workers.DualPairEncoder, "perturbed_distances", lambda *_, **__: refuse(None, [np.zeros((1, 400))])
    )
    with pytest.raises(EotuneError, match=r"no pair could be scored \(r0: its aspect ratio.*another encoder"):
        select(config(samples, encoder="tiny", first_cut=False), tmp_path / "none")


def test_samples_of_several_images_say_what_they_are_scored_by(samples, tmp_path, capsys):
    write(samples, [record(0, image=["0.png", "1.png"]), record(3), record(6)])
    summary = select(config(samples, encoder="tiny", clusters=1), tmp_path / "out")
    said = "1 samples have several images: they are scored by the first of them"
    assert summary["warnings"] == [said]
    assert said in capsys.readouterr().err
    assert said in (tmp_path / "out" / "report.html").read_text()


def test_a_folder_of_files_goes_on_after_its_subset_was_written(samples, tmp_path):
    folder = tmp_path / "parts"
    shutil.copytree(samples.parent / "images", folder / "images")
    for part in range(2):
        pq.write_table(pa.Table.from_pylist([record(6 * part + at) for at in range(6)]), folder / f"{part}.parquet")
    chosen = config(folder, strategy={"name": "random"}, first_cut=False, keep="1/2")
    select(chosen, tmp_path / "whole")
    select(chosen, tmp_path / "out")
    (tmp_path / "out" / "summary.json").unlink()  # as a kill in the report leaves it
    (tmp_path / "out" / "subset" / "torn.parquet").touch()
    assert select(chosen, tmp_path / "out", resume=True)["kept"] == 6
    first, second = (sorted((tmp_path / name / "subset").rglob("*")) for name in ("whole", "out"))
    assert [path.name for path in first] == [path.name for path in second]


def test_exact_duplicates_alone_need_no_embedding(samples, tmp_path, computed):
    write(samples, [*map(record, range(QUESTIONS)), record(5, id="s")])
    chosen = config(samples, strategy={"name": "random"}, near=None, keep=1)
    assert select(chosen, tmp_path / "out")["counts"] == {"kept": QUESTIONS, "exact-duplicate": 1}
    assert set(computed()) == {"ReadImages"}
    assert [step["step"] for step in plan(chosen)["steps"]] == ["images"]


def test_a_choice_that_another_run_shares_stays_worth_taking_over(samples, tmp_path, computed):
    workshop = Workshop()
    for run, keep in (("a", "1/3"), ("b", "1/3"), ("c", "1/2")):
        _choose(config(samples, encoder="tiny", keep=keep), tmp_path / run, workshop)
        assert bool(computed()) == (run == "a")


def test_of_several_selections_the_one_with_the_same_rows_is_taken_over(samples, tmp_path, computed):
    select(config(samples, encoder="tiny", near=None), tmp_path / "other")
    select(config(samples, encoder="tiny", near=0.5), tmp_path / "same")
    seconds = {
        name: json.loads((tmp_path / name / "summary.json").read_text())["seconds"] for name in ("other", "same")
    }
    for name, reuse in (("first", ["other", "same"]), ("last", ["same", "other"])):
        computed()
        wanted = config(samples, encoder="tiny", near=0.5, keep=0.2)
        found = select(wanted, tmp_path / name, reuse=[tmp_path / one for one in reuse])
        assert not computed()
        assert found["seconds"]["perturbation"] >= seconds["same"]["perturbation"]
    stored = tmp_path / "other" / "stages" / "seconds.json"
    stored.write_text(json.dumps(seconds["other"] | {"perturbation": 1000.0}))
    alone = select(config(samples, encoder="tiny", near=0.5), tmp_path / "alone", reuse=[tmp_path / "other"])
    assert alone["seconds"]["perturbation"] < 1000  # nothing of it could be used
    assert computed() == {"ScorePairs": sum(alone["counts"].get(why, 0) for why in ("kept", "low"))}


def test_a_set_by_a_relative_path_is_the_same(samples, tmp_path, monkeypatch, computed):
    monkeypatch.chdir(samples.parent)
    select(config("set.jsonl", encoder="tiny"), tmp_path / "out")
    (tmp_path / "out" / "summary.json").unlink()
    monkeypatch.chdir(tmp_path)
    computed()
    select(config(samples, encoder="tiny"), tmp_path / "out", resume=True)
    assert not computed()


def test_the_time_before_an_interruption_counts(samples, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("eotune.selection.pipeline.near_duplicates", stop)
        with pytest.raises(KeyboardInterrupt):
            select(config(samples), tmp_path / "out")
    stored = tmp_path / "out" / "stages" / "seconds.json"
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"texts": 100.0}))
    assert select(config(samples), tmp_path / "out", resume=True)["seconds"]["texts"] > 100


def test_the_time_of_a_killed_process_counts_up_to_what_it_wrote_last(samples, tmp_path):
    stages = tmp_path / "out" / "stages"
    select(config(samples), tmp_path / "out")
    (tmp_path / "out" / "summary.json").unlink()
    written = max(file.stat().st_mtime for file in stages.rglob("*"))
    (stages / "running.json").write_text(json.dumps({"step": "texts", "since": written - 100}))
    os.utime(stages / "running.json", (written - 100, written - 100))
    assert 100 < select(config(samples), tmp_path / "out", resume=True)["seconds"]["texts"] < 130
    assert not (stages / "running.json").exists()


def test_a_killed_selection_goes_on_with_its_shards_and_refuses_another_set(samples, tmp_path):
    select(config(samples), tmp_path / "out", shard_size=5)
    (tmp_path / "out" / "summary.json").unlink()
    assert select(config(samples), tmp_path / "out", resume=True)["kept"] == QUESTIONS // 3
    (tmp_path / "out" / "summary.json").unlink()
    write(samples, map(record, range(QUESTIONS - 1)))
    with pytest.raises(InputError, match=r"out: .*set.jsonl is not as it was when the selection was made"):
        select(config(samples), tmp_path / "out", resume=True)


def test_what_was_removed_of_a_finished_selection_is_written_again(samples, tmp_path, computed):
    out = tmp_path / "out"
    select(config(samples), out)
    names = ("subset.jsonl", "selection.parquet")
    before = {name: (out / name).read_bytes() for name in names}
    subset = (out / "subset.jsonl").stat().st_ino
    computed()
    select(config(samples), out, resume=True, xcomposer=True)
    assert (out / "subset.jsonl").stat().st_ino == subset  # it was there
    for name in (*names, "report.html"):
        (out / name).unlink()
        select(config(samples), out, resume=True)
        assert all((out / one).read_bytes() == before[one] for one in names)
        assert (out / "report.html").is_file()
    assert not computed()
    shutil.rmtree(out / "stages")
    (out / "report.html").unlink()
    select(config(samples), out, resume=True)
    assert not computed()  # a report is not worth computing all again


def test_what_lost_its_stages_has_nothing_to_take_over(samples, tmp_path, capsys):
    select(config(samples), tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "stages")
    select(config(samples), tmp_path / "b", reuse=[tmp_path / "a"])
    assert "has no stages/, so that nothing can be taken over" in capsys.readouterr().err


def test_a_first_cut_that_leaves_nothing_is_refused(samples, tmp_path):
    with pytest.raises(InputError, match=r"smallest_cluster=500: the first cut leaves none of 36 .*12 small-cluster\)"):
        select(config(samples, smallest_cluster=500), tmp_path / "out")


def test_a_set_of_damaged_images_is_refused(samples, tmp_path):
    for image in (samples.parent / "images").iterdir():
        image.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none of 36 samples can be used \(r0: .*0.png.*\); correct the set"):
        select(config(samples), tmp_path / "out")


def test_a_dry_run_refuses_a_set_that_has_nothing(samples):
    shutil.rmtree(samples.parent / "images")
    with pytest.raises(InputError, match="keep 1/3 of 0 readable records is none; correct the set"):
        plan(config(samples))


def test_a_duplicate_stands_behind_one_that_stays(samples, tmp_path):
    asked = {"a": "How many ships are there?", "b": "How many ships are there", "c": "how many ships are there"}
    write(samples, [{**record(0), "id": name, "question": text} for name, text in asked.items()])
    select(config(samples, clusters=1, keep=1, near=0.5), tmp_path / "out")
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "out" / "selection.parquet").to_pylist()}
    assert [(row["reason"], row["duplicate_of"]) for row in rows.values()] == [
        ("kept", None), ("near-duplicate", "a"), ("exact-duplicate", "a"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "tinny"}, "unknown encoder scheme 'tinny'; did you mean 'tiny'"),
        ({"encoder": "tiny", "pool": "concat"}, "the image would cancel"),
        ({"encoder": "tiny", "pool": "mean"}, "pool of 'tiny'"),
        ({"strategy": {"name": "perturbation"}}, "needs an encoder of images with texts"),
        ({"strategy": {"name": "nearest"}}, "needs targets"),
        ({"strategy": {"name": "perplexity"}}, "no encoder here gives"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_read(samples, tmp_path, computed, settings, message):
    for begin in (plan, lambda one: select(one, tmp_path / "out")):
        with pytest.raises(InputError, match=message):
            begin(config(samples, **settings))
    assert not computed()


def test_an_engine_of_ones_own_runs_every_stage(samples, tmp_path):
    asked = []

    class Noting(LocalEngine):
        def pool(self, worker, config, *, at_most):
            asked.append(worker)
            return super().pool(worker, config, at_most=at_most)

    assert select(config(samples, encoder="tiny"), tmp_path / "out", engine=Noting())["kept"] == 12
    assert [(one.__name__, one.runs_model) for one in asked] == [
        ("ReadImages", False), ("EmbedTexts", True), ("ScorePairs", True),
    ]  # fmt: skip


def test_the_plan_counts_the_rankings_that_are_compared(samples):
    steps = {step["step"]: step for step in plan(config(samples, encoder="tiny", stability=10, repeats=2))["steps"]}
    assert (steps["stability"]["rows"], steps["stability"]["passes"]) == (60, 180)


def test_what_another_program_reads_is_written_later_too(samples, tmp_path):
    select(config(samples), tmp_path / "out")
    select(config(samples), tmp_path / "both", xcomposer=True)
    summary = select(config(samples), tmp_path / "out", resume=True, xcomposer=True)
    assert summary["files"]["xcomposer"] == "xcomposer.json"
    first, second = ((tmp_path / name / "xcomposer.json").read_bytes() for name in ("out", "both"))
    assert first == second


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"encoder": "vlm:/nowhere"}, "/nowhere: no such directory"),
        ({"encoder": "hf:/nowhere"}, "/nowhere: no such directory"),
        ({"encoder": "composed:/nowhere"}, "composed:/nowhere: no such directory"),
        ({"encoder": "vml:model"}, "unknown encoder scheme 'vml'; did you mean 'vlm'"),
        ({"encoder": "tiny", "pool": "product", "normalize": True}, "normalize with pool 'product'"),
        ({"encoder": "vlm:org/name", "strategy": {"name": "similarity"}}, "has no similarity of image and text"),
        ({"sentence_encoder": "minlm"}, "unknown encoder scheme 'minlm'; did you mean 'minilm'"),
        ({"sentence_encoder": "hf:/nowhere"}, "/nowhere: no such directory"),
    ],
)
def test_a_wrong_encoder_is_refused_before_anything_is_read(samples, tmp_path, settings, refusal):
    with pytest.raises(InputError, match=refusal):
        select(config(samples, **settings), tmp_path / "out")
    assert not (tmp_path / "out" / "stages").exists()
    with pytest.raises(InputError, match=refusal):
        plan(config(samples, **settings))


def test_an_image_copied_again_is_read_again_by_a_selection_that_takes_over(samples, tmp_path, computed):
    image = samples.parent / "images" / "1.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:60])
    chosen = config(samples, encoder="tiny")
    assert select(chosen, tmp_path / "old", shard_size=12)["failed"] == 3
    image.write_bytes(whole)
    computed()
    again = select(chosen, tmp_path / "new", shard_size=12, reuse=[tmp_path / "old"])
    assert (again["failed"], computed()["ReadImages"]) == (0, 12)
    fresh = select(chosen, tmp_path / "fresh", shard_size=12)
    assert (again["kept"], again["counts"]) == (fresh["kept"], fresh["counts"])
    table = "selection.parquet"
    assert pq.read_table(tmp_path / "new" / table).equals(pq.read_table(tmp_path / "fresh" / table))


def test_a_plan_tells_what_fails_of_what_it_times(samples):
    (samples.parent / "images" / "0.png").write_bytes(b"")
    found = plan(config(samples, encoder="tiny"))
    assert [one.partition(" (")[0] for one in found["warnings"]] == [
        "images: 3 of 32 samples that were timed fail",
        "perturbation: 3 of 32 samples that were timed fail",
    ]
    assert "r0: " in found["warnings"][0]
    assert plan(config(samples, strategy={"name": "random"}, split=None))["warnings"] == found["warnings"][:1]


def test_a_quota_is_known_with_a_hyphen_too(samples):
    strategy = {"name": "stratified", "quota": "square-root"}
    assert create(strategy).config.quota == "square_root"
