"""What holds for every strategy."""

import dataclasses

import numpy as np
import pytest

from eotune.core.errors import InputError
from eotune.selection.result import Columns, Reason
from eotune.selection.strategies import by_name


def samples(n=240, d=12, k=4, seed=0):
    random = np.random.default_rng(seed)
    clusters = random.integers(-1, k, n)
    return Columns(
        ranks=random.permutation(n),
        available=(random.random(n) < 0.8) & (clusters >= 0),
        clusters=clusters,
        images=random.integers(-1, n // 3, n),
        text_embeddings=(random.standard_normal((k, d))[clusters] + random.standard_normal((n, d))).astype(np.float32),
        perturbation=random.random(n).astype(np.float32),
        similarity=random.random(n).astype(np.float32),
        perplexity=2 * random.random(n).astype(np.float32),
        targets=random.standard_normal((7, d)).astype(np.float32),
    )


def only(columns, names):
    return Columns(columns.ranks, columns.available, **{name: getattr(columns, name) for name in names})


def shuffled(columns, order):
    changed = {
        field.name: getattr(columns, field.name)[order]
        for field in dataclasses.fields(columns)
        if field.name != "targets"
    }
    return dataclasses.replace(columns, **changed)


@pytest.fixture(params=by_name.names())
def strategy(request):
    return by_name.create({"name": request.param})


@pytest.mark.parametrize("total", [0, 1, 77])
def test_the_total_is_exact_and_reasons_say_so(strategy, total):
    columns = samples()
    result = strategy.choose(columns, total, seed=0)
    assert result.kept.sum() == total
    assert not (result.kept & ~columns.available).any()
    assert ((result.reason == Reason.KEPT) == result.kept).all()
    assert ((result.reason == Reason.CUT) == ~columns.available).all()
    assert np.isfinite(result.score[columns.available]).all()


def test_too_few_samples_are_all_kept(strategy):
    columns = samples()
    assert (strategy.choose(columns, 239, seed=0).kept == columns.available).all()


def test_nothing_is_available(strategy):
    columns = dataclasses.replace(samples(), available=np.zeros(240, bool))
    assert not strategy.choose(columns, 10, seed=0).kept.any()


def test_the_order_of_samples_does_not_matter(strategy):
    columns, order = samples(), np.random.default_rng(5).permutation(240)
    first, second = strategy.choose(columns, 77, seed=3), strategy.choose(shuffled(columns, order), 77, seed=3)
    assert (first.kept[order] == second.kept).all()
    assert np.allclose(first.score[order], second.score, atol=1e-5, equal_nan=True)


def test_it_reads_the_columns_it_names_and_no_others(strategy):
    columns = samples()
    fewer = only(columns, strategy.needs)
    assert (strategy.choose(fewer, 50, seed=1).kept == strategy.choose(columns, 50, seed=1).kept).all()
    for name in strategy.needs:
        with pytest.raises(InputError, match=f"'{strategy.config.name}' needs the column '{name}'"):
            strategy.choose(only(columns, strategy.needs - {name}), 50, seed=1)


def test_embeddings_of_unavailable_samples_are_not_read(strategy):
    columns = samples()
    columns.text_embeddings[~columns.available] = np.nan
    assert strategy.choose(columns, 50, seed=1).kept.sum() == 50


def test_an_embedding_with_nan_is_named(strategy):
    columns = samples()
    row = int(np.flatnonzero(columns.available)[0])
    columns.text_embeddings[row] = np.nan
    if "text_embeddings" in strategy.needs:
        with pytest.raises(InputError, match=f"the first at row {row}"):
            strategy.choose(columns, 50, seed=1)
    else:
        assert strategy.choose(columns, 50, seed=1).kept.sum() == 50


def test_embeddings_may_lie_on_disk(strategy, tmp_path):
    columns = samples()
    np.save(tmp_path / "rows.npy", columns.text_embeddings)
    mapped = dataclasses.replace(columns, text_embeddings=np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert (strategy.choose(mapped, 60, seed=0).kept == strategy.choose(columns, 60, seed=0).kept).all()
