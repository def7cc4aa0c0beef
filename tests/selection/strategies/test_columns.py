"""perturbation, similarity, perplexity, random and stratified."""

from collections import Counter

import numpy as np
import pytest

from eotune.selection.result import Columns, Reason
from eotune.selection.strategies.by_name import create


def columns(**values):
    n = len(next(iter(values.values())))
    values = {name: np.array(column) for name, column in values.items()}
    return Columns(values.pop("ranks", np.arange(n)), values.pop("available", np.ones(n, bool)), **values)


def kept(config, total, given, seed=0):
    return np.flatnonzero(create(config).choose(given, total, seed).kept).tolist()


def test_perturbation_keeps_the_highest_of_every_cluster():
    given = columns(perturbation=[1.0, 2, 3, 4, 9, 9, 8, 7], clusters=[0, 0, 0, 0, 0, 0, 1, 1])
    assert kept({"name": "perturbation"}, 4, given) == [3, 4, 5, 6]
    assert kept({"name": "perturbation", "quota": "equal"}, 4, given) == [4, 5, 6, 7]
    assert kept({"name": "perturbation", "quota": "global"}, 3, given) == [4, 5, 6]
    assert kept({"name": "perturbation", "prefer": "lowest"}, 4, given) == [0, 1, 2, 7]


def test_cluster_sizes_count_what_the_first_cut_dropped():
    given = columns(
        perturbation=np.arange(12.0), clusters=[0] * 8 + [1] * 4, available=[True] * 4 + [False] * 4 + [True] * 4
    )
    assert kept({"name": "perturbation"}, 6, given) == [0, 1, 2, 3, 10, 11]


def test_samples_without_a_score_are_dropped_and_say_so():
    given = columns(perturbation=[np.nan, 1, 2, np.nan], clusters=[0, 0, 0, 0], available=[True, True, True, False])
    result = create({"name": "perturbation"}).choose(given, 3, 0)
    assert result.kept.tolist() == [False, True, True, False]
    assert result.reason.tolist() == [Reason.UNSCORED, Reason.KEPT, Reason.KEPT, Reason.CUT]


def test_similarity_goes_over_all_samples():
    assert kept({"name": "similarity"}, 2, columns(similarity=[0.1, 0.5, 0.4])) == [1, 2]


def test_the_middle_is_the_median_of_what_is_available():
    given = columns(perplexity=[50.0, 1, 2, 3, 4, 5, 0], available=[False, *[True] * 6])
    assert kept({"name": "perplexity", "prefer": "middle", "limit": None}, 2, given) == [2, 3]


def test_the_middle_is_that_of_each_cluster():
    values = [*range(10), *range(100, 110)]
    given = columns(perturbation=np.float32(values)[::-1], clusters=[1] * 10 + [0] * 10, ranks=np.arange(20)[::-1])
    rule = {"name": "perturbation", "prefer": "middle"}
    assert sorted(values[19 - row] for row in kept(rule, 8, given)) == [3, 4, 5, 6, 103, 104, 105, 106]
    assert sorted(values[19 - row] for row in kept({**rule, "quota": "global"}, 4, given)) == [8, 9, 100, 101]


def test_the_middle_is_nearest_to_the_median_rank():
    random = np.random.default_rng(0)
    for _ in range(20):
        n = int(random.integers(1, 40))
        clusters, values = random.integers(0, 4, n), random.integers(0, 5, n).astype(float)
        values[random.random(n) < 0.1] = np.nan
        given = columns(perturbation=values, clusters=clusters, available=random.random(n) < 0.8)
        scores = create({"name": "perturbation", "prefer": "middle"}).scores(given, 0)
        for cluster in range(4):
            rows = [i for i in range(n) if clusters[i] == cluster and given.available[i] and not np.isnan(values[i])]
            ranking = sorted(rows, key=lambda i: (values[i], i))
            for place, row in enumerate(ranking):
                below, above = place, len(ranking) - 1 - place
                assert scores[row] == pytest.approx(-abs(below - above) / (2 * len(ranking)))


def test_an_ifd_over_the_limit_comes_last():
    given = columns(perplexity=[0.2, 0.9, 1.0, 7.0, np.nan])
    assert kept({"name": "perplexity"}, 2, given) == [0, 1]
    assert kept({"name": "perplexity"}, 3, given) == [0, 1, 3]
    assert kept({"name": "perplexity", "limit": None}, 2, given) == [2, 3]


@pytest.mark.parametrize("name", ["random", "stratified"])
def test_every_sample_is_equally_likely(name):
    given = columns(ranks=[3, 1, 0, 2], clusters=[0, 0, 0, 0])
    count = Counter(row for seed in range(1000) for row in kept({"name": name}, 2, given, seed))
    assert all(abs(count[row] - 500) < 60 for row in range(4))


def test_stratified_draws_by_cluster():
    given = columns(clusters=[0] * 30 + [1] * 10)
    for seed in range(5):
        assert sum(row < 30 for row in kept({"name": "stratified"}, 12, given, seed)) == 9
    assert len({tuple(kept({"name": "stratified"}, 12, given, seed)) for seed in range(5)}) == 5
