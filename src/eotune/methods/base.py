"""What a method is: how an encoder is changed, what of it trains, and how the change is kept."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from eotune.core.config import Config
from eotune.core.errors import InputError
from eotune.core.seeds import derive_seed
from eotune.encoders.base import DualEncoder, Encoder, Tower, TowerName
from eotune.methods.targets import LabelledFeatures, Targets
from eotune.methods.weights import fill, read_weights, write_weights

WEIGHTS = "adapter.safetensors"


class MethodConfig(Config):
    """What every method's configuration has.

    Attributes:
        name: The method: the name of its file.
    """

    name: str


class TrainedConfig(MethodConfig):
    """What the configuration of every method that trains has.

    Attributes:
        logit_scale: Whether the logit scale (and the bias, where the model has one) trains along. Image encoders have
            none.
    """

    logit_scale: Literal["learned", "frozen"] = "learned"


class InjectedConfig(TrainedConfig):
    """What the configuration of every method that puts something into a frozen model has.

    Attributes:
        heads: Whether the projection heads train along; a composed encoder with fresh ones needs it.
        patch_embedding: Whether the layer that turns pixels into tokens trains along, for images with other bands than
            the model was trained with.
    """

    heads: bool = False
    patch_embedding: Literal["frozen", "trained"] = "frozen"


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one objective: the unit of resume.

    Attributes:
        name: Unique within the method.
        objective: What the method asks of the task's objective; a recipe's own settings go before it.
        on_features: For a phase that trains nothing in front of the final embeddings: maps the encoder to a module
            that takes the pretrained model's ``image_features`` ``(n, d)`` and ``text_features`` ``(m, d)`` and returns
            a ``DualOutput``. These are then computed once, without augmentation, and every epoch reuses them.
        targets: For a phase that moves the features of labelled images towards targets: computes these from the
            features at its start, once.
        prepare: Called on the encoder when the targets are there, before anything of the phase trains.
        share: Of the run's epochs, rounded to whole ones; the last phase takes what is left.
    """

    name: str
    objective: Mapping[str, Any] = field(default_factory=dict)
    on_features: Callable[[DualEncoder], nn.Module] | None = None
    targets: Callable[[LabelledFeatures], Targets] | None = None
    prepare: Callable[[Encoder], None] | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Origin:
    """The pretrained encoder that a method was applied to, as it was before.

    Attributes:
        encoder: The string that loads it.
        image_size: In pixels.
        fingerprint: Hash of its weights and preprocessing.
        seed: What the method drew its fresh weights from.
    """

    encoder: str
    image_size: int
    fingerprint: str
    seed: int


class Method(ABC):
    """How an encoder is changed. A method never trains: it says what trains, and training does it.

    Subclasses are called ``Method``, one to a file, and name their settings in ``Config``.

    Attributes:
        needs_text: Whether it adapts encoders of images and text alone.
        needs_labels: Whether its phases are of labelled images alone.
        config: The validated settings.
        origin: What it was applied to; None before :meth:`apply`.
    """

    Config: ClassVar[type[MethodConfig]]
    needs_text: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    config: MethodConfig
    origin: Origin | None

    def __init__(self, config: MethodConfig) -> None:
        self.config = config
        self.origin = None

    def apply(self, encoder: Encoder, *, seed: int) -> None:
        """Change ``encoder`` in place and set ``requires_grad`` on every one of its parameters.

        The outputs stay those of the pretrained model until something trains, unless :meth:`starts_pretrained` says no.

        Args:
            encoder: A pretrained encoder, to which no training method was applied before.
            seed: Fresh weights are drawn from it and from their own names alone.

        Raises:
            InputError: The encoder is adapted already, or lacks what the method needs.
        """
        if encoder.pretrained_parameters is not None and self.phases():
            raise InputError(
                f"encoder {encoder.name!r} is already adapted",
                remedy="export it merged and name the exported directory, or name its base encoder",
            )
        if self.needs_text and "text" not in encoder.towers:
            raise InputError(
                f"method {self.config.name!r} adapts image-text encoders, and {encoder.name!r} has no text tower",
                remedy="use full, lora, adapter or adaptformer",
            )
        self.origin = Origin(encoder.name, encoder.image_size, encoder.fingerprint(), seed)
        size = sum(parameter.numel() for parameter in encoder.parameters())
        trained = self._inject(encoder, seed)
        train_only(encoder, trained)
        encoder.train(encoder.training)  # fresh modules start in training mode, dropout on
        if encoder.pretrained_parameters is None and self.phases():
            encoder.pretrained_parameters = size

    @abstractmethod
    def _inject(self, encoder: Encoder, seed: int, /) -> set[str]:
        """Add what the method adds, in place; return the names of the parameters that train."""

    def starts_pretrained(self) -> bool:
        """Return whether cosine similarities are the pretrained model's until something trains."""
        return True

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases of training, in order; none for a method that trains nothing."""
        return (Phase("train"),)

    def check_samples(self, n: int) -> None:
        """Refuse settings that ``n`` training samples cannot meet, before anything trains.

        Raises:
            InputError: They cannot.
        """
        del n  # most methods need no number

    def no_decay(self, encoder: Encoder) -> set[str]:
        """Return the names of trained parameters that weight decay leaves alone: scalars, vectors, the logit scale.

        Gates, biases, norms and the logit scale have a meaning at values other than 0, to which decay would pull them.
        """
        return {name for name, parameter in trained_parameters(encoder).items() if parameter.ndim < 2}

    def save(self, encoder: Encoder, directory: Path) -> None:
        """Write the trained parameters to ``directory``; nothing of the frozen model."""
        write_weights(directory / WEIGHTS, trained_parameters(encoder))

    def load(self, encoder: Encoder, directory: Path) -> None:
        """Read what :meth:`save` wrote into ``encoder``, to which the method has been applied.

        Raises:
            InputError: A file is missing, is a pickle or broken, or holds other parameters.
        """
        fill(trained_parameters(encoder), read_weights(directory / WEIGHTS), directory / WEIGHTS)

    def merge(self, encoder: Encoder) -> bool:
        """Fold the adapter into the pretrained weights, in place, where that is possible.

        Returns:
            Whether the encoder now has the pretrained model's own layout, with the same outputs as before.
        """
        merged = self._merge(encoder)
        if merged:
            encoder.pretrained_parameters = None
        return merged

    def _merge(self, encoder: Encoder) -> bool:
        """Fold what was added; a method that added nothing has nothing to fold, others override this or cannot."""
        counts = parameter_counts(encoder)
        return counts.total == counts.pretrained


@dataclass(frozen=True)
class ParameterCounts:
    """How many numbers an encoder has; shared ones count once.

    Attributes:
        trainable: Those that train.
        total: All, the method's own included.
        pretrained: All, before a method added its own.

    Example:
        >>> round(ParameterCounts(trainable=5_569_010, total=156_846_322, pretrained=151_277_313).share, 4)
        0.0368
    """

    trainable: int
    total: int
    pretrained: int

    @property
    def share(self) -> float:
        """Trainable parameters as a share of the pretrained model's, as the papers give it."""
        return self.trainable / self.pretrained


def parameter_counts(encoder: Encoder) -> ParameterCounts:
    """Count the parameters of an encoder, adapted or not."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in encoder.parameters()]
    total = sum(size for size, _ in sizes)
    trainable = sum(size for size, trains in sizes if trains)
    return ParameterCounts(trainable, total, encoder.pretrained_parameters or total)


@contextmanager
def seeded(*keys: int | str) -> Iterator[None]:
    """Draw fresh CPU weights inside from ``keys`` alone, and leave the global generator as it was.

    Example:
        >>> with seeded(0, "adapter"):
        ...     first = torch.rand(2)
        >>> with seeded(0, "adapter"):
        ...     bool((torch.rand(2) == first).all())
        True
    """
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(derive_seed(*keys))
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def train_only(encoder: Encoder, names: Iterable[str]) -> None:
    """Let the named parameters train and freeze every other."""
    chosen = set(names)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in chosen)
        parameter.grad = None


def trained_parameters(encoder: Encoder) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that train, by name."""
    return {name: parameter for name, parameter in encoder.named_parameters() if parameter.requires_grad}


def parameters_under(encoder: Encoder, path: str) -> set[str]:
    """Return the names of the parameters at ``path`` or below it."""
    return {name for name, _ in encoder.named_parameters() if name == path or name.startswith(path + ".")}


def projection_parameters(encoder: Encoder) -> set[str]:
    """Return the names of the parameters of the projection heads; empty where the encoder has none."""
    paths = [tower.projection for tower in encoder.towers.values() if tower.projection is not None]
    return {name for path in paths for name in parameters_under(encoder, path)}


def projection_path(encoder: Encoder, tower: Tower) -> str:
    """Return the path of a tower's projection head, whose output is the final embedding.

    Raises:
        InputError: The tower has none.
    """
    if tower.projection is None:
        raise InputError(
            f"encoder {encoder.name!r} has no {tower.name} projection head", remedy="use another method, such as lora"
        )
    return tower.projection


def scale_parameters(encoder: Encoder) -> set[str]:
    """Return the names of the logit scale and, where there is one, the logit bias; an image encoder has neither."""
    if not isinstance(encoder, DualEncoder):
        return set()
    return names_of(encoder, [one for one in (encoder.log_scale, encoder.logit_bias) if one is not None])


def trained_along(encoder: Encoder, config: InjectedConfig) -> set[str]:
    """Return the names of the pretrained parameters that train beside what a method put in.

    Raises:
        InputError: The settings name a part that the encoder lacks.
    """
    trained = scale_parameters(encoder) if config.logit_scale == "learned" else set()
    if config.heads:
        trained |= projection_parameters(encoder)
        if not any(tower.projection for tower in encoder.towers.values()):
            raise InputError(f"method.heads: encoder {encoder.name!r} has no projection heads", remedy="leave it out")
    if config.patch_embedding == "trained":
        path = encoder.towers["image"].patch_embedding
        if path is None:
            raise InputError(
                f"method.patch_embedding: encoder {encoder.name!r} has no layer of that kind", remedy="leave it out"
            )
        trained |= parameters_under(encoder, path)
    return trained


def names_of(encoder: Encoder, parameters: Iterable[torch.nn.Parameter]) -> set[str]:
    """Return the names that these parameters have in the encoder."""
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, parameter in encoder.named_parameters() if id(parameter) in wanted}


def chosen_towers(encoder: Encoder, towers: Literal["both", "image", "text"]) -> list[Tower]:
    """Return the towers that a setting names, image first; ``both`` of an image encoder is its one.

    Raises:
        InputError: The encoder has no such tower.
    """
    order: tuple[TowerName, ...] = ("image", "text")
    chosen = [encoder.towers[name] for name in order if towers in ("both", name) and name in encoder.towers]
    if not chosen:
        raise InputError(f"method.towers: encoder {encoder.name!r} has no {towers} tower", remedy="leave it out")
    return chosen
