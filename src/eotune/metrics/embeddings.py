"""Embeddings that an evaluation may rely on: finite, float32, of unit length, equal where they should be."""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from eotune.core.errors import InputError

Embeddings = Tensor | np.ndarray

# Squared distance of unit vectors below which two embeddings of one text differ by rounding: batches of another
# size or padding change the last digits, in bf16 the third.
ROUNDING = 2e-3


def unit_rows(embeddings: Embeddings, name: str, device: torch.device | str | None = None) -> Tensor:
    """Return embeddings as float32 of unit length, on ``device``.

    Rows that already have unit length (to 1e-6) are kept bit for bit. A zero row stays zero: it scores 0 with all.

    Args:
        embeddings: ``(n, d)``, n and d at least 1, any floating type, on any device.
        name: What they are, for messages: ``image`` or ``text``.
        device: Where they shall be; where they are by default.

    Raises:
        InputError: They are not a matrix, empty, or not finite.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0]]), "image").tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    tensor = torch.as_tensor(embeddings).detach()
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise InputError(f"{name} embeddings must be a matrix with at least one row; got {tuple(tensor.shape)}")
    tensor = tensor.to(device or tensor.device, torch.float32)
    lengths = torch.linalg.vector_norm(tensor, dim=1, keepdim=True)
    bad = int((~torch.isfinite(lengths)).sum())
    if bad:
        raise InputError(
            f"{bad} of {len(tensor)} {name} embeddings are not finite numbers",
            remedy="check the weights, lower the learning rate, or use precision fp32",
        )
    keep = ((lengths - 1).abs() <= 1e-6) | (lengths == 0)
    return tensor if bool(keep.all()) else tensor / torch.where(keep, 1.0, lengths)


def caption_ids(captions: Sequence[Hashable]) -> np.ndarray:
    """Number captions by their text, in order of appearance.

    Example:
        >>> caption_ids(["a river", "a port", "a river"]).tolist()
        [0, 1, 0]
    """
    seen: dict[Hashable, int] = {}
    first = list(map(seen.setdefault, captions, range(len(captions))))  # where each text stands first
    return np.unique(np.array(first, dtype=np.int64), return_inverse=True)[1].astype(np.int64)


def without_batch_noise(texts: Tensor, ids: np.ndarray) -> Tensor:
    """Give equal captions the first one's embedding where they differ by rounding only.

    The same text embedded in two batches differs in its last digits; a tie would then be broken by noise.

    Args:
        texts: ``(m, d)`` of unit length.
        ids: ``(m,)``, equal for equal captions.

    Returns:
        ``(m, d)``; rows of a repeated text that differ by more than rounding stay as they are.
    """
    first, inverse = np.unique(ids, return_index=True, return_inverse=True)[1:]
    representative = first[inverse]
    repeats = np.flatnonzero(representative != np.arange(len(ids)))
    if not len(repeats):
        return texts
    rows = torch.from_numpy(repeats).to(texts.device)
    leaders = texts[torch.from_numpy(representative[repeats]).to(texts.device)]
    equal = (texts[rows] - leaders).square_().sum(dim=1) < ROUNDING
    result = texts.clone()
    result[rows[equal]] = leaders[equal]
    return result


def distinct_rows(embeddings: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Find rows that are equal to the last bit.

    Args:
        embeddings: ``(n, d)`` float32, finite.

    Returns:
        ``first`` ``(k,)``: the index of each distinct row, ascending; ``inverse`` ``(n,)``: which of them row i is.

    Example:
        >>> first, inverse = distinct_rows(torch.tensor([[1.0], [2.0], [1.0]]))
        >>> first.tolist(), inverse.tolist()
        ([0, 1], [0, 1, 0])
    """
    rows = embeddings.cpu().numpy()
    representative = np.arange(len(rows))
    # Only rows whose ends agree can be equal: of ordinary embeddings, hardly any others do.
    ends = rows[:, 0] + np.pi * rows[:, -1].astype(np.float64)
    _, group, sizes = np.unique(ends, return_inverse=True, return_counts=True)
    seen: dict[bytes, int] = {}
    for i in np.flatnonzero(sizes[group] > 1).tolist():
        representative[i] = seen.setdefault((rows[i] + 0.0).tobytes(), i)  # + 0.0 turns -0 into 0
    first, inverse = np.unique(representative, return_inverse=True)
    return first, inverse
