"""What an encoder is: its towers, how their inputs are prepared, and where they can be adapted."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eotune.core.errors import InputError
from eotune.core.lookup import unknown_name
from eotune.encoders.characters_read import characters_read
from eotune.encoders.multimodal_parts import Part
from eotune.encoders.preprocess import ImageTransform

TowerName = Literal["image", "text"]
# What an image's vector is; projected: pooled as usual, then through a dual encoder's projection.
Feature = Literal["cls", "mean", "pooler", "projected"]
_MOST_GROUPS = 4  # of texts of like length; more save little padding (a caption batch: 25 tokens a text, then 16)
_LEAST_GROUP = 32  # texts; products of fewer rows are slower by the row
_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Block:
    """One transformer block: where it can be adapted. Paths are relative to the encoder module.

    Attributes:
        path: The block.
        attention: Its self-attention module.
        mlp: The module whose output is the MLP's, before the residual sum (BERT: the second dense layer).
        width: Size of a token's vector.
        causal: Whether a token may attend only to itself and those before it.
    """

    path: str
    attention: str
    mlp: str
    width: int
    causal: bool


@dataclass(frozen=True)
class Tower:
    """One side of a dual encoder, or all of an image encoder.

    Attributes:
        name: ``image`` or ``text``.
        path: The transformer, relative to the encoder module.
        projection: The projection head into the shared space, relative to the encoder; None where there is none.
        blocks: Its transformer blocks, from the input up.
        patch_embedding: The convolution that turns pixels into tokens, relative to the encoder; None where none is.
    """

    name: TowerName
    path: str
    projection: str | None
    blocks: tuple[Block, ...]
    patch_embedding: str | None = None


@dataclass
class DualOutput:
    """What one forward pass gives.

    Attributes:
        image_embeddings: ``(n, d)``, as the model gives them (not normalised).
        text_embeddings: ``(m, d)``, likewise.
        logit_scale: Scalar, the factor on cosine similarities (already exponentiated and clamped).
        logit_bias: Scalar added to logits, for sigmoid-trained models; None elsewhere.
    """

    image_embeddings: Tensor
    text_embeddings: Tensor
    logit_scale: Tensor
    logit_bias: Tensor | None = None


class Encoder(nn.Module):
    """A pretrained model of images, and what it takes to use it and to adapt it.

    Subclasses hold the models and implement the ``NotImplementedError`` methods. Weights are float32 in memory;
    precision is chosen per call by autocast.

    Attributes:
        name: The string that loads this encoder again (``hf:...``, ``composed:...``, ``tiny``, ...).
        dim: Size ``d`` of an embedding.
        transform: How an image becomes ``(c, h, w)`` uint8, and its normalisation.
        bands: Names of the input's bands, where a model takes other ones than red, green and blue; else None.
        towers: ``{"image": Tower}``; of a dual encoder ``{"image": Tower, "text": Tower}``.
        backbones: Name to path of the transformers models inside, for PEFT: ``{"": "model"}`` for one model that
            holds all towers, ``{"image": "image_model", "text": "text_model"}`` for a composed encoder.
        parts: Of a vision-language model, the paths of what sees, what reads and what lies between; else None.
        pretrained_parameters: Number of parameters before a method adapted the encoder; None while none has.
    """

    name: str
    dim: int
    transform: ImageTransform
    bands: tuple[str, ...] | None = None
    towers: dict[TowerName, Tower]
    backbones: dict[str, str]
    parts: Mapping[Part, tuple[str, ...]] | None = None
    pretrained_parameters: int | None = None

    # --- what a subclass implements -------------------------------------------------------------------------------

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Map normalised pixels ``(n, c, h, w)`` to ``(n, d)``, with gradients, not normalised."""
        raise NotImplementedError

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        """Write the whole encoder in a layout that ``eotune.encoders`` reads."""
        raise NotImplementedError

    # --- what every encoder shares --------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def channels(self) -> int:
        """Number of bands ``c`` of an image: 3 for RGB."""
        return len(self.transform.mean)

    @property
    def image_size(self) -> int:
        """Side of the square that the model sees, in pixels."""
        return self.transform.size

    @torch.inference_mode()
    def embed_pixels(self, pixels: Tensor, *, precision: str = "fp32") -> np.ndarray:
        """Embed uint8 ``(n, c, h, w)``; returns float32 ``(n, d)``."""
        with evaluating(self), autocast(self.device, precision):
            features = self.image_features(self.transform.normalise(pixels.to(self.device, non_blocking=True)))
        return self._embeddings(features)

    def embed_images(
        self, images: Sequence[np.ndarray], *, batch_size: int = 64, precision: str = "fp32"
    ) -> np.ndarray:
        """Embed images, uint8 ``(h, w, c)`` of any size; returns float32 ``(n, d)``."""
        batches = [
            self.embed_pixels(
                torch.from_numpy(np.stack([self.transform(image) for image in images[start : start + batch_size]])),
                precision=precision,
            )
            for start in range(0, len(images), batch_size)
        ]
        return np.concatenate(batches) if batches else np.zeros((0, self.dim), np.float32)

    def fingerprint(self) -> str:
        """Return a short hash of the weights and the preprocessing: equal exactly when embeddings are."""
        digest = hashlib.sha256(repr(self._settings()).encode())
        # Apart: without them, fingerprints stay those of earlier versions.
        if self.transform.scaled_to is not None:
            digest.update(str(self.transform.scaled_to).encode())
        if self.transform.centre != "floor":
            digest.update(self.transform.centre.encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def _settings(self) -> tuple[object, ...]:
        """Return what embeddings depend on beside the weights."""
        return (self.transform,)

    def _embeddings(self, features: Tensor) -> np.ndarray:
        """Turn features into the embeddings that are handed out."""
        return features.float().cpu().numpy()


class ImageEncoder(Encoder):
    """An image tower alone: its pooled features, of any length.

    Attributes:
        towers: ``{"image": Tower}``.
        takes_sigma: Whether it was pretrained on bands that were cut at two deviations from their mean, and on nothing
            else that scales them: statistics of other images do not replace that.
    """

    takes_sigma = False

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise images by other statistics than the model's own, such as those of the images it will see.

        Args:
            mean: One a band, in units of pixel / 255.
            std: Likewise.

        Raises:
            InputError: There are more or fewer numbers than bands, or a deviation is not above 0.
        """
        if not len(mean) == len(std) == self.channels or not all(one > 0 for one in std):
            raise InputError(
                f"means {list(mean)} and deviations {list(std)} do not fit a model of {self.channels} bands",
                remedy="give one of each a band, deviations above 0",
            )
        self.transform = replace(self.transform, mean=tuple(map(float, mean)), std=tuple(map(float, std)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 ``(n, c, h, w)``, normalised here, on the device, to features ``(n, d)`` with gradients."""
        return self.image_features(self.transform.normalise(pixels))


class DualEncoder(Encoder):
    """An image tower and a text tower in one space; embeddings are handed out at unit length.

    Attributes:
        max_tokens: Longest text in tokens; longer ones are cut.
        tokenizer: Of transformers; what :meth:`tokenize` uses.
        max_logit_scale: Upper clamp of the logit scale; None for no clamp.
        temperature: Where a method adds one, similarities are divided by it and the pretrained logit scale rests.
    """

    max_tokens: int
    tokenizer: Any
    max_logit_scale: float | None = 100.0
    temperature: nn.Parameter | None

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("temperature", None)

    # --- what a subclass implements -------------------------------------------------------------------------------

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map token ids and mask ``(n, t)`` to ``(n, d)``, with gradients, not normalised."""
        raise NotImplementedError

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return ``input_ids`` and ``attention_mask``, each ``(n, t)`` with t <= max_tokens, padded on the right."""
        raise NotImplementedError

    @property
    def log_scale(self) -> nn.Parameter:
        """The learned logit scale, in log."""
        raise NotImplementedError

    @property
    def log_scale_name(self) -> str:
        """The name of :attr:`log_scale` among ``named_parameters()``."""
        return next(name for name, parameter in self.named_parameters() if parameter is self.log_scale)

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """The learned logit bias of sigmoid-trained models; None elsewhere."""
        return None

    # --- what every dual encoder shares ---------------------------------------------------------------------------

    def logit_scale(self) -> Tensor:
        """The factor on cosine similarities: exp of the learned value, clamped to ``max_logit_scale``."""
        if self.temperature is not None:
            return 1 / self.temperature
        scale = self.log_scale.exp()
        return scale if self.max_logit_scale is None else scale.clamp(max=self.max_logit_scale)

    def forward(self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor) -> DualOutput:
        """Embed images (uint8 ``(n, 3, h, w)``, normalised here, on the device) and texts in one pass."""
        return DualOutput(
            self.image_features(self.transform.normalise(pixels)),
            self._text_features_by_length(input_ids, attention_mask),
            self.logit_scale(),
            self.logit_bias,
        )

    def _text_features_by_length(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return :meth:`text_features`, on a CPU from groups of like length, each without the others' padding.

        A GPU would wait for the lengths, and has work for all its cores in one group only.
        """
        lengths = attention_mask.sum(1)
        groups = min(_MOST_GROUPS, len(lengths) // _LEAST_GROUP)
        if input_ids.device.type != "cpu" or groups < 2 or bool(lengths.min() == lengths.max()):
            return self.text_features(input_ids, attention_mask)
        order = lengths.argsort(stable=True)
        features = []
        for rows in order.chunk(groups):
            longest = int(lengths[rows[-1]])
            features.append(self.text_features(input_ids[rows, :longest], attention_mask[rows, :longest]))
        return torch.cat(features)[order.argsort()]

    @torch.inference_mode()
    def embed_tokens(self, tokens: dict[str, Tensor], *, precision: str = "fp32") -> np.ndarray:
        """Embed what :meth:`tokenize` returned; returns float32 ``(n, d)`` of unit length."""
        with evaluating(self), autocast(self.device, precision):
            features = self.text_features(*(tokens[key].to(self.device) for key in ("input_ids", "attention_mask")))
        return self._embeddings(features)

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 256, precision: str = "fp32") -> np.ndarray:
        """Embed texts; returns float32 ``(n, d)`` of unit length, in the order given.

        Texts are batched by length, so that short ones are not padded to the longest.
        """
        order = np.argsort([len(text) for text in texts], kind="stable")
        result = np.zeros((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), batch_size):
            chosen = order[start : start + batch_size]
            result[chosen] = self.embed_tokens(self.tokenize([texts[i] for i in chosen]), precision=precision)
        return result

    def characters_read(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return how many characters of each text are read, ``(n,)``: less than its length where it is cut."""
        return characters_read(self.tokenizer, texts, self.max_tokens - self.tokenizer.num_special_tokens_to_add())

    def _settings(self) -> tuple[object, ...]:
        return (self.transform, self.max_tokens)

    def _embeddings(self, features: Tensor) -> np.ndarray:
        return nn.functional.normalize(features.float(), dim=-1).cpu().numpy()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout off inside, and back to what it was after."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context for ``fp32`` (off), ``bf16`` or ``fp16`` on ``device``.

    Raises:
        InputError: The precision is none of these.

    Example:
        >>> autocast(torch.device("cpu"), "fp61")
        Traceback (most recent call last):
        ...
        eotune.core.errors.InputError: unknown precision 'fp61'; did you mean 'fp16'? Known: bf16, fp16, fp32
    """
    if precision not in _DTYPES:
        raise unknown_name("precision", precision, _DTYPES)
    # bfloat16 stands in where autocast is off: the CPU's accepts no float32.
    return torch.autocast(device.type, dtype=_DTYPES[precision] or torch.bfloat16, enabled=precision != "fp32")
