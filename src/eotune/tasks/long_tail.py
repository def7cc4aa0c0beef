"""Classification with long-tailed classes: its data and what a recipe says of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from eotune.core.config import Config
from eotune.core.errors import InputError, shown
from eotune.core.seeds import derive_seed, generator
from eotune.data.band_statistics import BandInput
from eotune.data.labelled import LabelledSet, read_labelled
from eotune.data.long_tail import GroupRule, class_groups, long_tail_subset
from eotune.data.splits import hold_out_groups

_LISTED = 10  # classes that an error names


class LabelledData(Config):
    """Where labelled images are.

    Attributes:
        path: A folder with a class a sub-folder, or a JSONL or CSV file with a label a row. Relative paths start at the
            current directory.
        images: Folder that a file's image paths start at; the file's own folder where not given.
        split: Take only this split.
    """

    path: Path
    images: Path | None = None
    split: str | None = None

    def read(self, classes: tuple[str, ...] | None = None) -> LabelledSet:
        """Read the set; ``classes`` are those of another split.

        Raises:
            InputError: Anything is wrong with the file or its images.
        """
        return read_labelled(self.path, images=self.images, split=self.split, classes=classes)


class LongTailConfig(Config):
    """The long-tail task of a recipe.

    Attributes:
        train: Trained on.
        validation: Chooses the best epoch and the probes' strength: a set, the number of training images of each class
            to hold out for it, or their share. Of images that name the ``source`` they were cut from, whole sources
            are held out, which meet these numbers as nearly as they can.
        test: Read once, at the end: a set, or the number of training images of each class to hold out for it.
        split_seed: Of what is held out; not the run's, so that every seed is tested on the same images.
        imbalance_ratio: Make the training set long-tailed: the largest class has this many times the images of the
            smallest, in an exponential profile. None takes the set as it is.
        largest: Images of the largest class then; by default the most that every class can meet.
        class_order: The classes then, largest first; None draws the order, anew for each seed.
        groups: Which classes are head, middle and tail.
        bands: For input that is not RGB: which bands, and how their values become 8 bits.
        five_crops: Also measure the own head by its mean over five crops of an image (LIFT's test-time ensembling).
        objective: Overrides of the method's own objective.
    """

    primary: ClassVar[str] = "probe_macro_f1"

    name: Literal["long_tail"] = "long_tail"
    train: LabelledData
    validation: LabelledData | int | float = 0.1
    test: LabelledData | int
    split_seed: int = 0
    imbalance_ratio: float | None = Field(default=None, ge=1)
    largest: int | None = Field(default=None, ge=1)
    class_order: tuple[str, ...] | None = None
    groups: GroupRule = GroupRule()
    bands: BandInput | None = None
    five_crops: bool = False
    objective: dict[str, Any] = Field(default_factory=dict)

    @field_validator("validation", "test", mode="before")
    @classmethod
    def _no_switch(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError(f"want images of each class, or a file with its split; got {str(value).lower()}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "LongTailConfig":
        if self.imbalance_ratio is None and (self.largest is not None or self.class_order is not None):
            raise ValueError("largest and class_order belong to imbalance_ratio")
        for held in (self.validation, self.test):
            if isinstance(held, int) and held < 1:
                raise ValueError(f"at least one image of each class is held out, got {held}")
        if isinstance(self.validation, float) and not 0 < self.validation < 1:
            raise ValueError(f"validation wants a share between 0 and 1, got {self.validation}")
        return self


@dataclass(frozen=True)
class LongTailData:
    """The splits, read; all have the same classes.

    Attributes:
        train: Long-tailed.
        validation: Chooses epochs and strengths.
        test: As it was given.
        groups: Of ``head``, ``middle`` and ``tail`` those that have classes: the classes of each, by their counts in
            ``train``.
    """

    train: LabelledSet
    validation: LabelledSet
    test: LabelledSet
    groups: dict[str, np.ndarray]


def read_data(config: LongTailConfig, seed: int) -> LongTailData:
    """Read all splits, hold out what is to be held out, and draw the long tail.

    Args:
        config: The task.
        seed: Draws the order of the classes and their images.

    Raises:
        InputError: A file is wrong, or a class has too few images.
    """
    train = config.train.read()
    if isinstance(config.test, LabelledData):
        test = config.test.read(train.classes)
    else:
        train, test = _held_out(train, config.test, derive_seed(config.split_seed, "test"))
    if isinstance(config.validation, LabelledData):
        validation = config.validation.read(train.classes)
    else:
        train, validation = _held_out(train, config.validation, derive_seed(config.split_seed, "validation"))
    if config.imbalance_ratio is not None:
        train = _long_tailed(train, config, seed)
    if not train.counts().all():
        empty = train.classes[int(train.counts().argmin())]
        raise InputError(f"{train.source}: class {shown(empty)} has no training image", remedy="leave the class out")
    groups = class_groups(train.counts(), config.groups, classes=train.classes)
    return LongTailData(train, validation, test, {name: group for name, group in groups.items() if len(group)})


def _long_tailed(train: LabelledSet, config: LongTailConfig, seed: int) -> LabelledSet:
    order = None
    if config.class_order is not None:
        if sorted(config.class_order) != sorted(train.classes):
            raise InputError(
                f"task.class_order: does not name each class of {train.source} once",
                remedy=f"the classes are {', '.join(train.classes)}",
            )
        order = [train.classes.index(name) for name in config.class_order]
    positions = long_tail_subset(
        train.labels,
        len(train.classes),
        imbalance_ratio=config.imbalance_ratio or 1.0,
        seed=seed,
        largest=config.largest,
        order=order,
        classes=train.classes,
    )
    return train.subset(positions)


def _held_out(labelled: LabelledSet, amount: float, seed: int) -> tuple[LabelledSet, LabelledSet]:
    """Return what stays and what is held out: a number of images of each class, or a share, rounded, at least one.

    Images cut from one source stay together, since they may share pixels: the numbers are then met as nearly as whole
    sources allow.

    Raises:
        InputError: A class would have none left, or its images are all of one source.
    """
    counts = labelled.counts()
    wanted = np.array([amount if isinstance(amount, int) else max(1, round(amount * count)) for count in counts])
    if (wanted >= counts).any():
        raise _too_few(labelled, wanted)
    if labelled.origins is not None:
        held = hold_out_groups(labelled.labels, labelled.origins, wanted, seed)
        _refuse_undivided(labelled, held)
    else:
        held = np.zeros(len(labelled), bool)
        for label, name in enumerate(labelled.classes):
            members = np.flatnonzero(labelled.labels == label)
            held[generator(seed, "held out", name).permutation(members)[: wanted[label]]] = True
    return tuple(labelled.subset(np.flatnonzero(chosen)) for chosen in (~held, held))  # type: ignore[return-value]


def _too_few(labelled: LabelledSet, wanted: np.ndarray) -> InputError:
    """Return the refusal that names all classes of which no image would be left."""
    counts = labelled.counts()
    few = np.flatnonzero(wanted >= counts)
    listing = ", ".join(f"{wanted[at]} of {shown(labelled.classes[at])} ({counts[at]})" for at in few[:_LISTED])
    more = f" and {len(few) - _LISTED} more" if len(few) > _LISTED else ""
    fewer = "hold out fewer, or " if (counts[few] > 1).all() else ""
    return InputError(
        f"{labelled.source}: too few images to hold out {listing}{more}",
        remedy=f"{fewer}give a set of its own, more images, or leave these classes out",
    )


def _refuse_undivided(labelled: LabelledSet, held: np.ndarray) -> None:
    """Raise where whole sources leave a class without an image that is held out."""
    for label, name in enumerate(labelled.classes):
        members = labelled.labels == label
        if not held[members].any():
            sources = {origin for origin, inside in zip(labelled.origins or (), members, strict=True) if inside}
            raise InputError(
                f"{labelled.source}: of the sources of class {shown(name)} ({len(sources)}) none can be held out "
                "without the last images of a class",
                remedy="give a set of its own; or take 'source' out of the file if its images share no pixels",
            )
