import json
from pathlib import Path

import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.metrics.retrieval import RetrievalRanks, recall_intervals, recall_samples, recalls, retrieval_metrics

RSICD = Path(__file__).parents[2] / "../shared/data/aid_rsicd_subset/rsicd_captions_all.jsonl"


def slow_recalls(i2t: list[int], t2i: list[int], ks: tuple[int, ...]) -> dict[str, float]:
    values = {}
    for direction, ranks in (("i2t", i2t), ("t2i", t2i)):
        for k in ks:
            values[f"{direction}_R@{k}"] = 100 * sum(rank <= k for rank in ranks) / len(ranks)
    values["mR"] = sum(values.values()) / len(values)
    return values


@pytest.mark.parametrize("ks", [(1, 5, 10), (1, 3)])
def test_every_figure_equals_the_spec(case, ks, slow_ranks) -> None:
    result = retrieval_metrics(case.images, case.texts, case.owner, case.captions, ks=ks, bootstrap=50)
    for figures, reading in (
        (result.values, "against"),
        (result.optimistic, "favour"),
        (result.any_caption, "any_caption"),
    ):
        expected = slow_recalls(*slow_ranks(case.scores, case.owner, case.captions, reading), ks)
        assert list(figures) == list(expected)
        assert figures == pytest.approx(expected)
    n, m = case.scores.shape
    assert (result.n_images, result.n_texts) == (n, m)
    shared = sum(len({case.owner[k] for k in range(m) if case.captions[k] == caption}) > 1 for caption in case.captions)
    assert result.shared_queries == shared > 0
    assert set(result.intervals) == set(result.values)
    for name, (low, high) in result.intervals.items():
        assert low <= result.values[name] <= high
    assert result.geometry["alignment"] == pytest.approx(np.mean(2 - 2 * case.scores[case.owner, np.arange(m)]))
    assert set(result.geometry) == {"alignment", "uniformity_image", "uniformity_text", "modality_gap"}


def test_without_captions_or_bootstrap_their_figures_are_left_out(case) -> None:
    result = retrieval_metrics(case.images, case.texts, case.owner, bootstrap=0)
    assert (result.intervals, result.any_caption, result.shared_queries) == ({}, {}, 0)


def test_intervals_equal_a_bootstrap_by_image_in_loops() -> None:
    from eotune.core.seeds import generator

    random = np.random.default_rng(0)
    owner = np.repeat(np.arange(12), random.integers(1, 6, 12))
    ranks = RetrievalRanks(random.integers(1, 15, 12), random.integers(1, 15, len(owner)))
    samples: dict[str, list[float]] = {}
    for drawn in generator(7, "bootstrap", 12).integers(12, size=(60, 12)):
        texts = [rank for i in drawn for rank in ranks.text_to_image[owner == i]]
        for name, value in slow_recalls(ranks.image_to_text[drawn].tolist(), texts, (1, 5, 10)).items():
            samples.setdefault(name, []).append(value)
    result = recall_intervals(ranks, owner, resamples=60, seed=7)
    for name, values in samples.items():
        assert result[name] == pytest.approx(np.quantile(values, [0.025, 0.975]))


def test_models_that_ranked_the_same_images_share_their_resamples() -> None:
    random = np.random.default_rng(0)
    owner = np.repeat(np.arange(30), 2)
    before = RetrievalRanks(random.integers(1, 15, 30), random.integers(1, 15, 60))
    better = RetrievalRanks(np.maximum(before.image_to_text - 1, 1), before.text_to_image)
    gain = recall_samples(better, owner, seed=4)["mR"] - recall_samples(before, owner, seed=4)["mR"]
    assert gain.min() >= 0  # a rank less in one place is never worse in any resample
    assert gain.mean() == pytest.approx(recalls(better)["mR"] - recalls(before)["mR"], abs=0.2)
    assert (recall_samples(better, owner, seed=4)["mR"] < recall_samples(before, owner, seed=5)["mR"]).any()


def test_intervals_narrow_with_the_number_of_images_and_repeat_with_the_seed() -> None:
    def interval(n: int, seed: int = 0) -> tuple[float, float]:
        random = np.random.default_rng(0)
        images = random.normal(size=(n, 8))
        texts = np.repeat(images, 2, axis=0) + random.normal(size=(2 * n, 8))
        result = retrieval_metrics(images, texts, np.repeat(np.arange(n), 2), seed=seed)
        low, high = result.intervals["mR"]
        assert low < result.values["mR"] < high
        return low, high

    assert np.ptp(interval(800)) < np.ptp(interval(50)) / 2
    assert interval(50) == interval(50)
    assert interval(50) != interval(50, seed=1)


def test_chance_level_is_what_counting_says() -> None:
    random = np.random.default_rng(0)
    images, texts = random.normal(size=(1000, 256)), random.normal(size=(1000, 256))
    values = retrieval_metrics(images, texts, np.arange(1000), bootstrap=0).values
    assert values["t2i_R@10"] == pytest.approx(1, abs=1)


def test_a_collapsed_model_scores_0_and_not_100() -> None:
    images = np.repeat(np.random.default_rng(0).normal(size=(1, 512)), 500, axis=0)
    result = retrieval_metrics(images, images, np.arange(500))
    assert result.values["mR"] == 0
    assert result.intervals["mR"] == (0, 0)
    assert result.optimistic["mR"] == 100


def test_one_image_is_enough() -> None:
    assert retrieval_metrics(torch.ones(1, 4), torch.ones(3, 4), [0, 0, 0], ["a", "a", "b"]).values["mR"] == 100


def test_wrong_input_is_refused() -> None:
    bad = np.full((2, 3), np.nan, np.float32)
    with pytest.raises(InputError, match="2 of 2 image embeddings are not finite"):
        retrieval_metrics(bad, np.eye(2, 3), np.arange(2))
    with pytest.raises(InputError, match="3 text embeddings but 2 entries"):
        retrieval_metrics(np.eye(2, 3), np.eye(3), np.arange(2))
    with pytest.raises(InputError, match="does not name each"):
        retrieval_metrics(np.eye(3), np.eye(2, 3), np.arange(2))
    for ks in ((), (0, 5)):
        with pytest.raises(InputError, match="cut-offs of recall must be positive"):
            recalls(RetrievalRanks(np.array([1]), np.array([1])), ks)


@pytest.mark.skipif(not RSICD.is_file(), reason=f"{RSICD.name} is not at hand")
def test_rsicd_has_the_ambiguous_captions_that_are_documented() -> None:
    rows = [json.loads(line) for line in RSICD.read_text(encoding="utf-8").splitlines()]
    test = [row for row in rows if row["split"] == "test"]
    captions = [caption for row in test for caption in row["captions"]]
    owner = np.repeat(np.arange(len(test)), [len(row["captions"]) for row in test])
    assert (len(test), len(captions)) == (1093, 5465)
    words = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    random = np.random.default_rng(0)
    vectors = random.normal(size=(len(words), 64))
    texts = vectors[[words[caption] for caption in captions]]
    images = vectors[[words[row["captions"][0]] for row in test]]
    result = retrieval_metrics(images, texts, owner, captions)
    assert result.shared_queries == 641
    # Even a model that knows every image's caption stays below 100 with ties against it.
    assert result.values["i2t_R@1"] < result.any_caption["i2t_R@1"] == result.optimistic["i2t_R@1"] == 100
