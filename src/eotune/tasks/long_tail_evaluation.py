"""How good features are for long-tailed classes: probes on them, and the trained head, on every split."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from eotune.metrics.calibration import calibrated_probabilities, fit_temperature
from eotune.metrics.classification import classification_metrics
from eotune.metrics.linear_probe import Probe, best_probe, probe_path
from eotune.metrics.long_tail import LongTailResult, long_tail_metrics
from eotune.tasks.heads import Head
from eotune.tasks.long_tail import LongTailData

VIEWS = "views"  # the own head, averaged over views of an image
Features = Mapping[str, np.ndarray]  # of each split, (n, d)


@dataclass(frozen=True)
class ClassScores:
    """A classifier on features: ``probe``, ``balanced`` probe, the model's ``own`` head, or its mean over ``views``.

    Attributes:
        score: The probe, or the head.
        temperature: That makes its probabilities likeliest on validation.
        validation_macro_f1: Share from 0 to 1.
    """

    score: Probe | Head
    temperature: float
    validation_macro_f1: float

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities ``(n, c)`` of features ``(n, d)``, or ``(n, v, d)`` of v views an image."""
        return calibrated_probabilities(logits_of(self.score, features), self.temperature)


def logits_of(score: Probe | Head, features: np.ndarray) -> np.ndarray:
    """Return logits ``(n, c)`` of features ``(n, d)``; those of experts are combined, those of views averaged."""
    if features.ndim == 3:
        n, views, d = features.shape
        return logits_of(score, features.reshape(n * views, d)).reshape(n, views, -1).mean(axis=1)
    if isinstance(score, Probe):
        return score.predict_logits(features)
    device = next(score.parameters()).device
    with torch.inference_mode():
        return score.combined(score(torch.from_numpy(features).to(device))).float().cpu().numpy()


def fit_classifiers(
    features: Features, data: LongTailData, head: Head | None = None, views: np.ndarray | None = None
) -> dict[str, ClassScores]:
    """Fit both probes on training features, strengths chosen on validation, and calibrate all on validation.

    Args:
        features: Of ``train`` and ``validation`` at least.
        data: The splits.
        head: A trained head of these features; None where there is none.
        views: ``(n, v, d)``, features of v views of each validation image, where the head is to be averaged over them.
    """
    train, validation = data.train, data.validation
    held = (features["validation"], validation.labels)
    path = probe_path(features["train"], train.labels, len(train.classes))
    scores: dict[str, Probe | Head] = {
        "probe": best_probe(path, held),
        "balanced": best_probe(path, held, adjust=train.counts()),
    }
    if head is not None:
        scores["own"] = head
    found = {name: _calibrated(score, *held, n_classes=len(train.classes)) for name, score in scores.items()}
    if head is not None and views is not None:
        found[VIEWS] = _calibrated(head, views, validation.labels, n_classes=len(train.classes))
    return found


def evaluate_classifier(
    scores: ClassScores, features: np.ndarray, labels: np.ndarray, data: LongTailData, *, seed: int = 0
) -> LongTailResult:
    """Measure a classifier on a split: accuracy, macro F1 over all classes and by group, calibration, intervals."""
    probabilities = scores.probabilities(features)
    return long_tail_metrics(labels, probabilities, len(data.train.classes), data.groups, seed=seed)


def _calibrated(score: Probe | Head, features: np.ndarray, labels: np.ndarray, *, n_classes: int) -> ClassScores:
    logits = logits_of(score, features)
    result = classification_metrics(labels, logits.argmax(axis=1), n_classes)
    return ClassScores(score, fit_temperature(logits, labels), result.macro_f1)
