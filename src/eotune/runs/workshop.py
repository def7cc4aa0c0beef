"""What the runs of one process share: each image is decoded, each encoder read and measured once.

What does not fit in memory is made again, so figures never depend on what is shared.
"""

import copy
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from eotune.core.errors import InputError
from eotune.data.band_statistics import BandStatistics
from eotune.data.cache import ImageCache, ImageReader
from eotune.data.captions import CaptionSet
from eotune.data.duplicates import Fingerprint, normalised_caption
from eotune.data.images import BandConfig
from eotune.data.inventory import Inventory, take_inventory
from eotune.data.leaks import LeakReport, leaks
from eotune.encoders.base import DualEncoder, Encoder, ImageEncoder
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder, load_vlm
from eotune.methods.adapted import load_image_model, load_model
from eotune.runs.measure import Measured, measure
from eotune.runs.recipe import EncoderConfig
from eotune.tasks.instruct import Conversation
from eotune.tasks.instruct_evaluation import answers
from eotune.tasks.instruct_inputs import Lessons
from eotune.tasks.labelled_images import image_features
from eotune.tasks.retrieval import EvaluationSet
from eotune.tasks.shared_images import SharedImages

_Kind = TypeVar("_Kind", bound=Encoder)


class Workshop:
    """Keeps what several runs need; hand one to each :func:`~eotune.runs.execute.execute` of a process.

    Args:
        keep_encoder: Keep the pretrained encoder beside the copy that is adapted. A single run, which needs it again
            at the end only, saves memory without.

    Attributes:
        images: Decoded images.
        selections: Directories of finished selections, by their settings.
    """

    def __init__(self, *, keep_encoder: bool = True) -> None:
        self.images = SharedImages()
        self.keep_encoder = keep_encoder
        self._encoder: tuple[Hashable, Any] | None = None
        self._fingerprints: dict[tuple[Path, str], Fingerprint] = {}
        self._leaks: dict[Hashable, LeakReport] = {}
        self._zero_shot: dict[Hashable, Measured] = {}
        self._labelled: tuple[Hashable, ImageCache] | None = None
        self._frozen: dict[Hashable, np.ndarray] = {}
        self._answers: dict[Hashable, list[str]] = {}
        self.selections: dict[str, Path] = {}

    def encoder(self, config: EncoderConfig) -> DualEncoder:
        """Return a pretrained dual encoder that the caller may change."""
        return self._handed_out(_dual_encoder, config)

    def image_encoder(self, config: EncoderConfig, statistics: BandStatistics | None) -> ImageEncoder:
        """Return a pretrained image encoder that the caller may change, for the bands that it is given."""
        return self._handed_out(_image_encoder, config, statistics)

    def vision_language(self, config: EncoderConfig) -> VisionLanguageEncoder:
        """Return a pretrained vision-language model that the caller may change."""
        return self._handed_out(_vision_language, config)

    def lessons(self, config: EncoderConfig, max_tokens: int) -> Lessons:
        """Return what makes lessons of conversations for the pretrained model; for looking at, not for training."""
        return Lessons(self._pretrained(_vision_language, config), max_tokens)

    def pretrained_answers(
        self,
        config: EncoderConfig,
        samples: Sequence[Conversation],
        images: ImageCache,
        *,
        device: Any,
        **settings: Any,
    ) -> list[str]:
        """Return the pretrained model's answers.

        Args:
            config: Which model.
            samples: What is asked.
            images: That of each.
            device: Where to.
            settings: Of :func:`~eotune.tasks.instruct_evaluation.answers`.
        """
        key = (config, tuple(samples), str(device), *sorted(settings.items()))
        if key not in self._answers:
            encoder = self._pretrained(_vision_language, config)
            home = encoder.device
            settings["description"] = "answering, zero-shot"
            self._answers[key] = answers(encoder.to(device), samples, images, **settings)
            encoder.to(home)
        return self._answers[key]

    def labelled(self, paths: Sequence[Path], reader: ImageReader | None, *, max_side: int) -> ImageCache:
        """Return labelled images, decoded as far as memory allows.

        Raises:
            InputError: Some cannot be read.
        """
        key = (reader, max_side)
        if self._labelled is None or self._labelled[0] != key:
            self._labelled = None
            self._labelled = key, ImageCache([], read=reader, max_side=max_side)
        cache = self._labelled[1].over(paths)
        cache.fill()
        return cache

    def frozen_features(
        self,
        config: EncoderConfig,
        statistics: BandStatistics | None,
        cache: ImageCache,
        *,
        precision: str,
        device: Any,
    ) -> np.ndarray:
        """Return the pretrained image encoder's features ``(n, d)``."""
        key = (config, statistics, cache.paths, precision, str(device))
        if key not in self._frozen:
            encoder = self.image_encoder(config, statistics).to(device)
            self._frozen[key] = image_features(encoder, cache, precision=precision, description="embedding, frozen")
        return self._frozen[key]

    def zero_shot(
        self, config: EncoderConfig, ready: EvaluationSet, *, bands: BandConfig | None, precision: str, device: Any
    ) -> Measured:
        """Return the pretrained encoder's embeddings and figures."""
        key = (config, ready.captions.root, ready.captions.samples, repr(bands), precision, str(device))
        if key not in self._zero_shot:
            encoder = self._pretrained(_dual_encoder, config)
            home = encoder.device
            self._zero_shot[key] = measure(ready, encoder.to(device), precision=precision)
            encoder.to(home)
        return self._zero_shot[key]

    def inventory(self, captions: CaptionSet, *, bands: BandConfig | None) -> Inventory:
        """Return a set's inventory, without footprints."""
        keys = [(path, repr(bands)) for path in captions.paths()]
        new = [position for position, key in enumerate(keys) if key not in self._fingerprints]
        taken = take_inventory(captions.subset(new), bands=bands)
        found = zip(new, taken.fingerprints, strict=True)
        self._fingerprints |= {keys[position]: one for position, one in found if one is not None}
        return Inventory(
            captions=captions,
            fingerprints=tuple(self._fingerprints.get(key) for key in keys),
            texts=tuple(tuple(map(normalised_caption, sample.captions)) for sample in captions.samples),
            footprints=(None,) * len(captions),
            problems=taken.problems,
        )

    def leaks(self, first: Inventory, second: Inventory) -> LeakReport:
        """Return what of the second stands in the first."""
        key = tuple((one.captions.root, one.captions.samples, one.pixels()) for one in (first, second))
        if key not in self._leaks:
            self._leaks[key] = leaks(first, second)
        return self._leaks[key]

    def _handed_out(self, load: Callable[..., _Kind], *settings: Hashable) -> _Kind:
        """Return an encoder that nobody else holds."""
        encoder = self._pretrained(load, *settings)
        if self.keep_encoder:
            return copy.deepcopy(encoder)
        self._encoder = None
        return encoder

    def _pretrained(self, load: Callable[..., _Kind], *settings: Hashable) -> _Kind:
        """Return an encoder that the workshop keeps."""
        if self._encoder is None or self._encoder[0] != (load, settings):
            self._encoder = None  # two large ones need not be in memory at once
            self._encoder = (load, settings), load(*settings)
        return self._encoder[1]


def _dual_encoder(config: EncoderConfig) -> DualEncoder:
    return load_model(config.name, image_size=config.image_size)


def _vision_language(config: EncoderConfig) -> VisionLanguageEncoder:
    scheme, _, source = config.name.partition(":")
    if scheme != "vlm":
        raise InputError(
            f"encoder {config.name!r} is no vision-language model", remedy="name one: vlm:HUB_ID, or vlm:DIRECTORY"
        )
    if config.image_size is not None:
        raise InputError("encoder.image_size: a vision-language model's processor sizes images", remedy="leave it out")
    return load_vlm(source)


def _image_encoder(config: EncoderConfig, statistics: BandStatistics | None) -> ImageEncoder:
    if statistics is None:
        return load_image_model(config.name, image_size=config.image_size)
    names = statistics.names
    encoder = load_image_model(config.name, image_size=config.image_size, channels=len(names), bands=names)
    if not encoder.takes_sigma:
        encoder.normalise_by(statistics.mean, statistics.std)
    return encoder
