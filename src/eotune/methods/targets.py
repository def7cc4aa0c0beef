"""What a phase that trains features towards fixed targets asks for, and gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of the training images, from the encoder as it is when the phase begins.

    Attributes:
        values: float32 ``(n, d)``.
        labels: int64 ``(n,)``.
        classes: Names of the c classes.
        seed: What random choices are drawn from.
    """

    values: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    seed: int

    def counts(self) -> np.ndarray:
        """Return the number of samples of each class, ``(c,)``."""
        return np.bincount(self.labels, minlength=len(self.classes))


@dataclass(frozen=True)
class Targets:
    """Where the features of the training images are to go.

    Attributes:
        values: float32 ``(n, d)``.
        report: What a reader should see of how they came about; JSON can hold it.
    """

    values: np.ndarray
    report: Mapping[str, Any] = field(default_factory=dict)
