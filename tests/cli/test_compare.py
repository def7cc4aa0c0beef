import json

import numpy as np
import pytest
from scipy import stats

SEEDS = (0, 1)


@pytest.fixture(scope="session")
def runs(scenes, tmp_path_factory):
    """Two methods with two seeds each, as `eotune run` leaves them."""
    from eotune.runs.execute import execute
    from eotune.runs.recipe import parse_recipe

    folder = tmp_path_factory.mktemp("runs")
    data = {split: {"captions": str(scenes), "split": split} for split in ("train", "validation", "test")}
    paths = []
    for method in ({"name": "linear"}, {"name": "lora", "rank": 2}):
        for seed in SEEDS:
            recipe = {
                "name": f"{method['name']}-{seed}", "seed": seed, "task": {"name": "retrieval", **data},
                "encoder": "tiny", "method": method,
                "training": {"batch_size": 8, "epochs": 1, "learning_rate": 3e-3},
            }  # fmt: skip
            paths.append(folder / recipe["name"])
            execute(parse_recipe(recipe), paths[-1])
    return paths


def ranks_of(run):
    """Return the ranks of images and of captions that a run keeps, and the image of each caption."""
    with np.load(run / "embeddings.npz") as arrays:
        return arrays["adapted_image_ranks"], arrays["adapted_text_ranks"], arrays["image_index"]


def mean_recall(image_ranks, text_ranks, owner, drawn):
    texts = [rank for image in drawn for rank in text_ranks[owner == image]]
    shares = [np.mean([rank <= k for rank in ranks]) for ranks in (image_ranks[drawn], texts) for k in (1, 5, 10)]
    return 100 * np.mean(shares)


def test_differences_of_real_runs_are_those_of_numpy(eotune, runs):
    code, printed, err = eotune("compare", *runs, "--json")
    assert code == 0, err
    first, second = json.loads(printed)["groups"]
    assert (first["label"], second["label"]) == ("linear", "lora")
    assert first["difference"] is None

    found = [ranks_of(run) for run in runs]
    n = len(found[0][0])
    everything = np.arange(n)
    scores = np.array([mean_recall(*ranks, everything) for ranks in found]).reshape(2, 2)
    assert [first["score"]["value"], second["score"]["value"]] == pytest.approx(scores.mean(1).tolist())
    by_seed = scores[1] - scores[0]
    assert second["difference"]["value"] == pytest.approx(by_seed.mean())
    assert second["difference"]["over_seeds"] == pytest.approx(
        stats.t.interval(0.95, len(SEEDS) - 1, by_seed.mean(), stats.sem(by_seed))
    )
    rng = np.random.default_rng(1)  # other resamples than ours: the interval is the same up to their noise
    samples = []
    for _ in range(1500):
        drawn = rng.integers(n, size=n)
        one = [mean_recall(*ranks, drawn) for ranks in found]
        samples.append(np.mean(one[2:]) - np.mean(one[:2]))
    expected = np.quantile(samples, [0.025, 0.975])
    assert second["difference"]["over_images"] == pytest.approx(expected, abs=0.25 * np.ptp(expected))

    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    assert first["trainable"] == summaries[0]["trainable_parameters"]
    assert second["share"] == summaries[2]["trainable_parameters"] / summaries[2]["pretrained_parameters"]
    assert second["training_seconds"] == pytest.approx(np.mean([one["training_seconds"] for one in summaries[2:]]))
    assert second["peak_memory_mb"] == max(one["peak_memory_mb"] for one in summaries[2:])


def test_the_table_is_for_people_and_files_for_others(eotune, runs, tmp_path):
    code, printed, _ = eotune("compare", *runs, "--metric", "t2i_R@5", "--out", tmp_path / "table.html")
    assert code == 0
    lines = printed.splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:4]] == ["linear", "lora"]
    assert "parameters trained" in lines[0]
    page = (tmp_path / "table.html").read_text()
    assert "t2i_R@5" in page
    assert "<svg" in page


def test_what_cannot_be_compared_is_one_line(eotune, runs, tmp_path):
    for arguments, says in (
        (("--out", tmp_path / "table.doc", runs[0]), "unknown format '.doc'"),
        ((runs[0], tmp_path), "is not a run directory (no recipe.yaml)"),
        ((runs[0], "--metric", "mRR"), "did you mean 'mR'"),
    ):
        code, printed, err = eotune("compare", *arguments)
        assert (code, printed) == (2, "")
        assert says in err
        assert err.count("\n") == 1
