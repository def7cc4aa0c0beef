import json

import pytest

from eotune.data.scenes import write_dataset


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"train": 1, "test": 1}, size=64)


def test_a_subset_is_written_and_the_summary_is_json(eotune, captions, tmp_path):
    arguments = ("select", captions, "--out", tmp_path / "out", "--split", "train", "--keep", "0.5", "--strategy",
                 "similarity", "--encoder", "tiny", "--sentence-encoder", "tiny", "--set", "clusters=3")  # fmt: skip
    code, printed, _ = eotune(*arguments, "--json")
    summary = json.loads(printed)
    assert (code, summary["readable"], summary["kept"]) == (0, 50, 25)
    assert len((tmp_path / "out" / summary["files"]["subset"]).read_text().splitlines()) <= 10
    code, printed, _ = eotune(*arguments, "--resume")
    assert code == 0
    assert "25 of 50 samples kept" in printed


def test_without_a_model_the_clusters_decide(eotune, captions, tmp_path):
    arguments = ("select", captions, "--sentence-encoder", "tiny", "--set", "clusters=4", "--json")
    code, printed, _ = eotune(*arguments, "--out", tmp_path / "out")
    assert code == 0
    named = json.loads(eotune(*arguments, "--strategy", "stratified", "--out", tmp_path / "named")[1])
    summary = json.loads(printed)
    assert summary["counts"] == named["counts"]
    assert (tmp_path / "out" / "subset.jsonl").read_bytes() == (tmp_path / "named" / "subset.jsonl").read_bytes()


def test_a_dry_run_tells_the_cost(eotune, captions, tmp_path):
    code, printed, _ = eotune(
        "select", captions, "--out", tmp_path / "out", "--encoder", "tiny", "--sentence-encoder", "tiny", "--dry-run"
    )
    assert code == 0
    assert "100 samples, keep 33" in printed
    assert "200 passes" in printed
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_the_total_and_bad_records(eotune, captions, tmp_path):
    bad = '{"image": "images/none.png", "captions": ["a road"]}\n'
    (tmp_path / "more.jsonl").write_text(captions.read_text() + bad)
    options = ("select", tmp_path / "more.jsonl", "--images", captions.parent, "--out", tmp_path / "out",
               "--sentence-encoder", "tiny", "--dry-run")  # fmt: skip
    printed = eotune(*options)[1]
    assert "samples, keep 33, 1 records cannot be used" in printed
    total = next(line for line in printed.splitlines() if line.strip().startswith("in all"))
    assert total.endswith("s, in one process that takes over nothing")


def test_records_that_cannot_be_used_give_status_1(eotune, captions, tmp_path):
    lines = captions.read_text().splitlines()
    broken = captions.parent / "broken.jsonl"
    broken.write_text("\n".join([*lines, json.dumps({"image": "images/none.png", "captions": ["a road"]})]))
    code, _, said = eotune("select", broken, "--out", tmp_path / "out", "--strategy", "random", "--set",
                           "first_cut=false")  # fmt: skip
    assert code == 1
    assert "1 records or images could not be used" in said
    assert "images/none.png" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--keep", "0"), "keep must be above 0 and at most 1"),
        (("--strategy", "pertubation"), "unknown strategy 'pertubation'; did you mean 'perturbation'"),
        (("--set", "word=3"), "did you mean 'words'"),
        (("--engine", "rey"), "unknown engine 'rey'; did you mean 'ray'"),
        (("--gpus-per-worker", "1"), "engine 'local' with gpus of a worker: its workers share those of this machine"),
        (("--strategy", "perturbation"), "needs an encoder of images with texts"),
        (("--sentence-encoder", "st:nowhere/at/all"), "nowhere/at/all"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(eotune, captions, tmp_path, arguments, message):
    code, _, said = eotune("select", captions, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert message in said
    assert len(said.strip().splitlines()) == 1
