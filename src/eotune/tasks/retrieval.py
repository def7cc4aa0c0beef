"""Image-text retrieval: its data, its figures, and what a recipe says of it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from eotune.core.config import Config
from eotune.core.errors import InputError, shown
from eotune.core.progress import progress
from eotune.core.seeds import derive_seed
from eotune.data.cache import ImageCache
from eotune.data.captions import CaptionSet, read_captions
from eotune.data.images import BandConfig
from eotune.data.splits import random_split
from eotune.encoders.base import DualEncoder
from eotune.metrics.retrieval import RetrievalResult, retrieval_metrics
from eotune.tasks.objective import ObjectiveConfig
from eotune.tasks.pairs import PairMode, caption_key


class CaptionData(Config):
    """Where captioned images are.

    Attributes:
        captions: Karpathy JSON, HarMA/PIR list JSON, or JSONL. Relative paths start at the current directory.
        images: Folder that the file's image paths start at; the file's own folder where not given.
        split: Take only this split.
        listed: Take only the images that this text file names, one a line, by path or file name.
        limit: Take only the first n images, for a quick look.
        bands: How rasters become RGB.
    """

    captions: Path
    images: Path | None = None
    split: str | None = None
    listed: Path | None = None
    limit: int | None = Field(default=None, ge=1)
    bands: BandConfig | None = None

    def read(self) -> CaptionSet:
        """Read the set.

        Raises:
            InputError: Anything is wrong with the file or its images.
        """
        captions = read_captions(self.captions, images=self.images, split=self.split)
        if self.listed is not None:
            captions = _listed(captions, self.listed)
        return captions if self.limit is None else captions.subset(range(min(self.limit, len(captions))))


def _listed(captions: CaptionSet, path: Path) -> CaptionSet:
    """Return the samples that a text file names, in its order."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: U+2028 may stand inside a name
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{path}: cannot be read ({reason})", remedy="name a text file with an image a line") from None
    images = [sample.image for sample in captions.samples]
    by_file = defaultdict[str, list[int]](list)
    for position, image in enumerate(images):
        by_file[Path(image).name].append(position)
    positions = dict(by_file) | {image: [position] for position, image in enumerate(images)}
    names = [line.strip() for line in lines if line.strip()]
    unknown = [name for name in names if name not in positions]
    several = next((name for name in names if len(positions.get(name, ())) > 1), None)
    if several is not None:
        raise InputError(
            f"{path}: {shown(several)} is the name of several images of {captions.source}", remedy="name them by path"
        )
    if unknown or not names:
        what = f"{len(unknown)} names, such as {shown(unknown[0])}, are" if unknown else "nothing in it is"
        raise InputError(f"{path}: {what} no image of {captions.source}", remedy="name images of that file and split")
    return captions.subset(dict.fromkeys(positions[name][0] for name in names))


class RetrievalConfig(Config):
    """The retrieval task of a recipe.

    Attributes:
        train: Trained on.
        validation: Chooses the best epoch: a set, or the share of training images to hold out for it.
        test: Read once, at the end.
        retention: Captioned images of another kind, usually natural photos that the pretrained model has not seen,
            measured beside the test split: what adapting forgets.
        pairs: What an epoch is; see :class:`~eotune.tasks.pairs.PairDataset`.
        objective: Overrides of the method's own objective.
    """

    primary: ClassVar[str] = "mR"

    name: Literal["retrieval"] = "retrieval"
    train: CaptionData
    validation: CaptionData | float = 0.1
    test: CaptionData
    retention: CaptionData | None = None
    pairs: PairMode = "distinct"
    objective: dict[str, Any] = Field(default_factory=dict)

    def bands(self, split: Literal["train", "validation", "test", "retention"]) -> BandConfig | None:
        """Return how rasters of a split become RGB; a held-out share is read as training is."""
        data = getattr(self, split)
        return data.bands if isinstance(data, CaptionData) else self.train.bands


@dataclass(frozen=True)
class RetrievalData:
    """The splits, read."""

    train: CaptionSet
    validation: CaptionSet
    test: CaptionSet
    retention: CaptionSet | None = None


def read_data(config: RetrievalConfig, seed: int) -> RetrievalData:
    """Read all splits; a validation share is held out of the training images by ``seed``."""
    train, test = config.train.read(), config.test.read()
    retention = config.retention.read() if config.retention else None
    if isinstance(config.validation, CaptionData):
        return RetrievalData(train, config.validation.read(), test, retention)
    return RetrievalData(*hold_out(train, config.validation, seed), test, retention)


def hold_out(train: CaptionSet, share: float, seed: int) -> tuple[CaptionSet, CaptionSet]:
    """Divide a set into what is trained on and a share of its images, drawn by ``seed``.

    Raises:
        InputError: The share leaves no validation set.
    """
    if not 0 < share < 1 or round(share * len(train)) < 1:
        raise InputError(
            f"task.validation: {share} of {len(train)} training images is no validation set",
            remedy="give a share between 0 and 1, or a set of its own",
        )
    kept, held = random_split(len(train), (1 - share, share), seed=derive_seed(seed, "validation"))
    return train.subset(kept), train.subset(held)


class EvaluationSet:
    """Captioned images ready to be embedded again and again: decoded, resized and tokenised once.

    Args:
        captions: The set.
        encoder: Its transform and tokenizer.
        bands: How rasters become RGB.
        description: For the progress bar.
    """

    def __init__(
        self, captions: CaptionSet, encoder: DualEncoder, *, bands: BandConfig | None = None, description: str = ""
    ) -> None:
        self.captions = captions
        cache = ImageCache(captions.paths(), bands=bands, memory_limit_bytes=0)
        size = encoder.transform.size
        pixels = np.empty((len(captions), 3, size, size), np.uint8)
        indices = progress(range(len(captions)), description=description or "decoding")
        for index in indices:
            pixels[index] = encoder.transform(cache[index])
        self.pixels = torch.from_numpy(pixels)
        self.texts: list[str] = [text for sample in captions.samples for text in sample.captions]
        self.image_index = np.repeat(np.arange(len(captions)), [len(sample.captions) for sample in captions.samples])

    def embed(self, encoder: DualEncoder, *, batch_size: int, precision: str) -> tuple[np.ndarray, np.ndarray]:
        """Return image and text embeddings, float32 of unit length; repeated texts are embedded once."""
        images = np.concatenate(
            [encoder.embed_pixels(chunk, precision=precision) for chunk in self.pixels.split(batch_size)]
        )
        unique = list(dict.fromkeys(self.texts))
        position = {text: number for number, text in enumerate(unique)}
        texts = encoder.embed_texts(unique, batch_size=2 * batch_size, precision=precision)
        return images, texts[[position[text] for text in self.texts]]

    def evaluate(
        self, encoder: DualEncoder, *, batch_size: int = 128, precision: str = "fp32", bootstrap: int = 0, seed: int = 0
    ) -> RetrievalResult:
        """Embed and measure."""
        images, texts = self.embed(encoder, batch_size=batch_size, precision=precision)
        return self.measure(images, texts, bootstrap=bootstrap, seed=seed)

    def measure(self, images: np.ndarray, texts: np.ndarray, *, bootstrap: int, seed: int) -> RetrievalResult:
        """Measure embeddings that :meth:`embed` returned."""
        return retrieval_metrics(
            images,
            texts,
            self.image_index,
            captions=[caption_key(text) for text in self.texts],
            bootstrap=bootstrap,
            seed=seed,
        )


def evaluate_retrieval(
    encoder: DualEncoder,
    captions: CaptionSet,
    *,
    bands: BandConfig | None = None,
    batch_size: int = 128,
    precision: str = "fp32",
    bootstrap: int = 1000,
    seed: int = 0,
) -> RetrievalResult:
    """Measure image-text retrieval of ``encoder`` on ``captions``: recalls, mR, intervals.

    Args:
        encoder: The model.
        captions: The set.
        bands: How rasters become RGB.
        batch_size: Images at once.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        bootstrap: Number of resamples; 0 for no intervals.
        seed: Of the resampling.

    Raises:
        InputError: An image cannot be read.
    """
    ready = EvaluationSet(captions, encoder, bands=bands)
    return ready.evaluate(encoder, batch_size=batch_size, precision=precision, bootstrap=bootstrap, seed=seed)


def objective_config(config: RetrievalConfig, of_method: Mapping[str, Any]) -> ObjectiveConfig:
    """Return the method's objective with the recipe's overrides on top."""
    return ObjectiveConfig.model_validate({**of_method, **config.objective})
