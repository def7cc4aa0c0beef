"""What a selection says of every sample: kept or not, why, and its score."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from eotune.selection.vectors import Integers, Vectors


class Reason(IntEnum):
    """Why a sample was kept or dropped; ``label`` is what files and tables say.

    Example:
        >>> Reason.NEAR_DUPLICATE.label
        'near-duplicate'
    """

    KEPT = 0  # among the best of its group
    LOW = 1  # others of its group scored higher
    UNREADABLE = 2  # no image or text
    EXACT_DUPLICATE = 3
    NEAR_DUPLICATE = 4
    SMALL_CLUSTER = 5  # what duplicates left of its cluster is too little
    UNSCORED = 6  # the model gave no score, or no word can be deleted
    CUT = 7  # dropped before the strategy, which was not told why

    @property
    def label(self) -> str:
        """The reason in words."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Columns:
    """What is known of n samples; a strategy names the columns it needs.

    Attributes:
        ranks: ``(n,)`` order of the ids (`eotune.selection.order.id_ranks`).
        available: ``(n,)`` whether a sample passed the first cut.
        clusters: ``(n,)`` -1 where a sample could not be read: cluster sizes count all others.
        images: ``(n,)`` the same number where samples show the same images; -1 where they show none.
        text_embeddings: ``(n, d)``, maybe on disk. Rows of unavailable samples are not read.
        perturbation: ``(n,)`` distance that word deletion moves the sample's vector by; NaN where there is none.
        similarity: ``(n,)`` of image and text; NaN where there is none.
        perplexity: ``(n,)`` of the answer, or its ratio to that without the instruction (IFD); NaN where there is none.
        targets: ``(m, d)`` embeddings of what the model shall become good at.
    """

    ranks: Integers
    available: NDArray[np.bool_]
    clusters: NDArray[np.integer] | None = None
    images: NDArray[np.integer] | None = None
    text_embeddings: Vectors | None = None
    perturbation: NDArray[np.floating] | None = None
    similarity: NDArray[np.floating] | None = None
    perplexity: NDArray[np.floating] | None = None
    targets: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class SelectionResult:
    """A strategy's answer.

    Attributes:
        kept: ``(n,)``.
        reason: ``(n,)`` numbers of `Reason`.
        score: ``(n,)`` what decided, higher is better; NaN where nothing was computed.
    """

    kept: NDArray[np.bool_]
    reason: NDArray[np.uint8]
    score: NDArray[np.float32]
