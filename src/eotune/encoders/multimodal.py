"""Encoders of an image and a text together, and the score that selection takes from them.

The perturbation score of a sample is the distance between the vector of (image, text) and that of (image, text with
words deleted), arXiv 2409.13345. A vision-language model gives such vectors (:mod:`eotune.encoders.multimodal_vlm`);
where none fits, a dual encoder stands in.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eotune.core.errors import InputError, shown
from eotune.core.lookup import unknown_name
from eotune.encoders.base import DualEncoder, autocast
from eotune.encoders.by_name import check_dual, check_name, load
from eotune.encoders.pretrained import check_source

DualPooling = Literal["sum", "product"]
_SCHEME = "vlm:"
_CANCELS = ("raw-sum", "raw_sum", "add", "concat", "concatenation", "cat")


class PairEncoder(nn.Module):
    """What turns an image and a text into one vector.

    Attributes:
        name: The string that loads it again.
        dim: Size ``d`` of a vector.
    """

    name: str
    dim: int

    @abstractmethod
    def pair_vectors(self, images: Sequence[np.ndarray], texts: Sequence[str], *, batch_size: int = 16) -> np.ndarray:
        """Encode pairs.

        Args:
            images: uint8 ``(h, w, 3)`` of any size.
            texts: As many, none empty.
            batch_size: Number of pairs a pass.

        Returns:
            float32 ``(n, d)``.

        Raises:
            InputError: There are more images than texts or fewer, or one of them cannot be encoded.
        """

    @abstractmethod
    def perturbed_distances(
        self,
        images: Sequence[np.ndarray],
        texts: Sequence[str],
        perturbed: Sequence[Sequence[str]],
        *,
        batch_size: int = 16,
    ) -> np.ndarray:
        """Return how far other texts move the vectors of pairs; each image is encoded once.

        Args:
            images: uint8 ``(h, w, 3)`` of any size.
            texts: As many, none empty.
            perturbed: Other texts of each, as many of every one.
            batch_size: Number of pairs a pass.

        Returns:
            Euclidean distances, float32 ``(n, repeats)``.

        Raises:
            InputError: As for :meth:`pair_vectors`.
        """

    @abstractmethod
    def characters_read(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return how many characters of each text are read, ``(n,)``: less than its length where it is cut."""


class DualPairEncoder(PairEncoder):
    """A dual encoder standing in for a vision-language model.

    Args:
        encoder: With image and text in one space.
        pool: ``sum`` is ``normalise(i + t)`` of the two unit vectors, ``product`` is ``i * t`` element by element.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """

    def __init__(self, encoder: DualEncoder, pool: DualPooling = "sum", precision: str = "fp32") -> None:
        super().__init__()
        self.encoder = encoder
        self.pool = pool
        self.precision = precision
        self.name = encoder.name
        self.dim = encoder.dim

    def pair_vectors(self, images: Sequence[np.ndarray], texts: Sequence[str], *, batch_size: int = 16) -> np.ndarray:
        """See :meth:`PairEncoder.pair_vectors`."""
        check_pairs(images, texts)
        return self._joined(self._images(images, batch_size), self._texts(texts, batch_size))

    def perturbed_distances(
        self,
        images: Sequence[np.ndarray],
        texts: Sequence[str],
        perturbed: Sequence[Sequence[str]],
        *,
        batch_size: int = 16,
    ) -> np.ndarray:
        """See :meth:`PairEncoder.perturbed_distances`."""
        repeats = check_pairs(images, texts, perturbed)
        seen = self._images(images, batch_size)
        vectors = self._joined(seen, self._texts(texts, batch_size))
        moved = self._texts([text for others in perturbed for text in others], batch_size)
        others = self._joined(seen[:, None], moved.reshape(len(texts), repeats, self.dim))
        return np.linalg.norm(vectors[:, None] - others, axis=-1).astype(np.float32)

    def characters_read(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """See :meth:`PairEncoder.characters_read`."""
        return self.encoder.characters_read(texts)

    def similarities(self, images: Sequence[np.ndarray], texts: Sequence[str], *, batch_size: int = 16) -> np.ndarray:
        """Return the cosine similarity of each image and its text, float32 ``(n,)``; each image is encoded once.

        Raises:
            InputError: As for :meth:`pair_vectors`.
        """
        check_pairs(images, texts)
        seen, said = self._images(images, batch_size), self._texts(texts, batch_size)
        return np.einsum("nd,nd->n", seen, said)

    def _images(self, images: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
        """Embed images; one that is handed over for several texts, as the same array, once."""
        places: dict[int, int] = {}
        which = [places.setdefault(id(image), len(places)) for image in images]
        different = list({id(image): image for image in images}.values())
        return _unit(self.encoder.embed_images(different, batch_size=batch_size, precision=self.precision))[which]

    def _texts(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        return _unit(self.encoder.embed_texts(texts, batch_size=batch_size, precision=self.precision))

    def _joined(self, image: np.ndarray, text: np.ndarray) -> np.ndarray:
        return image * text if self.pool == "product" else _unit(image + text)


def load_pairs(
    name: str,
    *,
    pool: str | None = None,
    normalize: bool = False,
    precision: str = "fp32",
    max_text_tokens: int = 1024,
    load_dual: Callable[[str], DualEncoder] = load,
) -> PairEncoder:
    """Load an encoder of pairs, on the CPU.

    Args:
        name: ``vlm:ID_OR_DIR`` for a vision-language model of transformers, or a dual encoder (``tiny``, ``hf:...``).
        pool: Of a vision-language model, ``mean`` (where None) of the text's tokens or the ``last`` of them; of a dual
            encoder, ``sum`` (where None) or ``product``, see :class:`DualPairEncoder`.
        normalize: Take vectors to unit length before distances; those of ``sum`` always are.
        precision: ``fp32``, ``bf16`` or ``fp16``; a vision-language model's weights are loaded in it.
        max_text_tokens: Longer texts are cut for a vision-language model; a dual encoder has its own limit.
        load_dual: What loads a dual encoder; :func:`~eotune.methods.adapted.load_model` knows adapted ones too.

    Raises:
        InputError: A name is not one of these, or what it names cannot be read; the pooling would lose the image.

    Example:
        >>> encoder = load_pairs("tiny")
        >>> images = [np.zeros((64, 64, 3), np.uint8)]
        >>> encoder.perturbed_distances(images, ["a dark river"], [["a river", "a dark"]]).shape
        (1, 2)
    """
    pool = check_pair_encoder(name, pool, precision, normalize=normalize)
    if is_vlm(name):
        from eotune.encoders.multimodal_vlm import load_vlm

        encoder = load_vlm(
            name.removeprefix(_SCHEME),
            pool="last" if pool == "last" else "mean",
            normalize=normalize,
            precision=precision,
            max_text_tokens=max_text_tokens,
        )
        encoder.name = name
        return encoder.eval()
    return DualPairEncoder(load_dual(name), "product" if pool == "product" else "sum", precision)


def check_pair_encoder(name: str, pool: str | None = None, precision: str = "fp32", *, normalize: bool = False) -> str:
    """Check what can be known of an encoder of pairs before it is loaded; return its pooling.

    Raises:
        InputError: As for :func:`load_pairs`.
    """
    check_name(name)
    autocast(torch.device("cpu"), precision)  # refuses another
    vlm = is_vlm(name)
    if vlm:
        check_source(name.removeprefix(_SCHEME))
    else:
        check_dual(name, [_SCHEME.removesuffix(":")])
    known = ("mean", "last") if vlm else get_args(DualPooling)
    pool = pool or known[0]
    if pool in _CANCELS:
        raise InputError(
            f"pool {pool!r}: in the distance of two texts over one image the image would cancel",
            remedy=f"take {' or '.join(known)}",
        )
    if pool not in known:
        raise unknown_name(f"pool of {shown(name)}:", pool, known)
    if normalize and pool == "product":
        raise InputError("normalize with pool 'product'", remedy="leave one out: pool 'sum' is of unit length already")
    return pool


def is_vlm(name: str) -> bool:
    """Return whether a name is that of a vision-language model, which has no similarity of image and text."""
    return name.startswith(_SCHEME)


def check_pairs(
    images: Sequence[object], texts: Sequence[str], perturbed: Sequence[Sequence[str]] | None = None
) -> int:
    """Refuse pairs that do not match or have no text; return the number of other texts of each.

    Raises:
        InputError: They do not.
    """
    if len(images) != len(texts) or (perturbed is not None and len(perturbed) != len(texts)):
        others = "" if perturbed is None else f", {len(perturbed)} rows of perturbed texts"
        raise InputError(f"{len(images)} images, {len(texts)} texts{others}", remedy="give one of each a pair")
    counts = {len(row) for row in perturbed or ()}
    if len(counts) > 1:
        raise InputError(f"{sorted(counts)} perturbed texts of a pair", remedy="give as many of every one")
    for index, row in enumerate(zip(texts, *zip(*perturbed or (), strict=True), strict=True)):
        if not all(text.strip() for text in row):
            raise InputError(f"text {index} is empty", remedy="leave samples without text out")
    return counts.pop() if counts else 0


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
