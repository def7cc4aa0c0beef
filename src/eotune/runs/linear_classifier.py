"""A run's classifier as one linear map of a feature: what other tools need of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from eotune.core.errors import InputError
from eotune.metrics.linear_probe import Probe
from eotune.runs.saved_classifiers import read_classifiers
from eotune.tasks.long_tail_evaluation import VIEWS, ClassScores


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """Probabilities are ``softmax(features @ weight.T + bias)``.

    Attributes:
        name: ``probe``, ``balanced`` or ``own``.
        best: The run's best classifier; another one where that is no linear map of one feature.
        classes: c names.
        weight: ``(c, d)`` float32, on features as the encoder gives them.
        bias: ``(c,)`` float32; -inf for classes without training images.
        scores: What was folded.
    """

    name: str
    best: str
    classes: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    scores: ClassScores


def best_linear(run: Path) -> LinearClassifier:
    """Return, of a finished run's classifiers that are linear, the one with the highest macro F1 on validation.

    Raises:
        InputError: The run kept none.
    """
    saved = read_classifiers(run)
    if saved is None:
        raise InputError(
            f"{run}: is not finished (no classifiers)", remedy="finish it with eotune run --resume, or run it again"
        )
    description, scores = saved
    maps = {name: found for name, one in scores.items() if name != VIEWS and (found := fold(one)) is not None}
    if not maps:
        raise InputError(f"{run}: none of its classifiers is linear", remedy="run the recipe again")
    name = max(maps, key=lambda one: scores[one].validation_macro_f1)
    return LinearClassifier(name, description.best, description.classes, *maps[name], scores=scores[name])


def fold(scores: ClassScores) -> tuple[np.ndarray, np.ndarray] | None:
    """Return weight ``(c, d)`` and bias ``(c,)`` that hold standardisation and temperature too.

    Returns:
        None for a head of cosines or of several experts, which is no linear map.

    Example:
        >>> one = Probe(np.eye(2), np.zeros(2), mean=np.ones(2), std=np.full(2, 2.0), l2=1.0)
        >>> [part.tolist() for part in fold(ClassScores(one, 0.5, 1.0))]
        [[[1.0, 0.0], [0.0, 1.0]], [-1.0, -1.0]]
    """
    score = scores.score
    if isinstance(score, Probe):
        weight = score.weight.astype(np.float64) / score.std
        bias = score.bias - weight @ score.mean.astype(np.float64)
    elif isinstance(score.scores, nn.Linear):
        weight, bias = (one.detach().cpu().double().numpy() for one in (score.scores.weight, score.scores.bias))
    else:
        return None
    return (weight / scores.temperature).astype(np.float32), (bias / scores.temperature).astype(np.float32)
