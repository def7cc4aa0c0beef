import numpy as np
import pytest
from scipy.stats import spearmanr

from eotune.core.errors import InputError
from eotune.selection.stability import stability


def test_equal_to_scipy_with_ties_and_gaps():
    scores = np.random.default_rng(0).integers(0, 20, (3, 200)).astype(float)
    scores[1, 5] = np.nan
    result = stability({"a": scores[0], "b": scores[1], "c": scores[2]}, keep=0.25)
    whole = np.delete(scores, 5, axis=1)
    assert np.allclose(result.spearman, spearmanr(whole, axis=1).statistic)
    assert result.n == 199
    tops = [set(sorted(range(199), key=lambda i: (-row[i], i))[:49]) for row in whole]
    assert result.overlap.tolist() == [[len(one & other) / 49 for other in tops] for one in tops]


def test_a_constant_score_ranks_nothing():
    result = stability({"a": [1.0, 1.0], "b": [1.0, 2.0]}, keep=0.5)
    assert np.isnan(result.spearman[0]).all()
    assert result.spearman[1, 1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("scores", "match"),
    [({}, "one or more"), ({"a": [1.0], "b": [1.0, 2]}, "one length"), ({"a": [1.0, np.nan]}, "1 samples have all")],
)
def test_wrong_scores(scores, match):
    with pytest.raises(InputError, match=match):
        stability(scores, keep=0.5)
