"""What a selection is told."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from eotune.core.config import Config
from eotune.core.errors import InputError
from eotune.selection.duplicates import COMPARED
from eotune.selection.quotas import share


class SelectionRule(Config):
    """How samples are chosen, whatever the set; what only decides the speed is left out.

    Attributes:
        ids: ``record`` takes a record's id where it has one, ``row`` its number in the file.
        keep: Share of the readable records to keep, as a number or a fraction: ``1/3``.
        strategy: ``name`` chooses a file in ``eotune.selection.strategies``, the rest are its settings. No name:
            ``stratified``, or ``perturbation`` where an ``encoder`` is named.
        seed: Of every random choice.
        sentence_encoder: What embeds texts, for clusters and near duplicates: ``minilm``, ``st:ID_OR_DIR``, or a dual
            encoder. The source's is ``st:BAAI/bge-large-en-v1.5``.
        text: What of a sample is embedded.
        encoder: What encodes an image with a text: ``vlm:ID_OR_DIR``, or a dual encoder standing in.
        pool: Of that encoder's vectors; its own default where not given.
        normalize: Take its vectors to unit length before distances.
        precision: Of that encoder.
        words: How many words the perturbation deletes; below 1, which share of them.
        repeats: How many perturbations a score is the mean of.
        clusters: K, or several to choose from by silhouette.
        first_cut: Whether samples that carry no signal are dropped before the costly stage: duplicates, near
            duplicates, small clusters.
        near: Least cosine similarity of near duplicates' texts; None looks for exact duplicates only.
        compared: With how many texts of its cluster each is compared at least, the nearest ones, in looking for near
            duplicates; None for all, which takes a time that grows with the cluster.
        duplicates_of: Whether a duplicate has the ``same_image``, or ``any``.
        smallest_cluster: A cluster that has fewer samples after duplicates went is dropped.
        stability: Score so many samples again, with other seeds and other numbers of words, to see how far the ranking
            is chance; None for not.
        targets: A set that the model shall become good at, for the strategy ``nearest``.
        targets_split: Take only this split of it; it must be given where there are several.
    """

    ids: Literal["record", "row"] = "record"
    keep: str | float = "1/3"
    strategy: dict[str, Any]
    seed: int = Field(default=0, ge=0)
    sentence_encoder: str = "minilm"
    text: Literal["both", "question", "answer"] = "both"
    encoder: str | None = None
    pool: str | None = None
    normalize: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    words: int | float = Field(default=2, gt=0)
    repeats: int = Field(default=1, ge=1)
    clusters: int | tuple[int, ...] = (8, 16, 32, 64, 128)
    first_cut: bool = True
    near: float | None = Field(default=0.95, gt=0, le=1)
    compared: int | None = Field(default=COMPARED, ge=1)
    duplicates_of: Literal["same_image", "any"] = "same_image"
    smallest_cluster: int = Field(default=1, ge=1)
    stability: int | None = Field(default=None, ge=2)
    targets: Path | None = None
    targets_split: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _strategy_that_can_be(cls, values: Any) -> Any:
        given = (values.get("strategy") or {}) if isinstance(values, dict) else None
        if not isinstance(given, dict):
            return values
        return {**values, "strategy": {"name": "perturbation" if values.get("encoder") else "stratified", **given}}

    @field_validator("keep")
    @classmethod
    def _a_share(cls, value: str | float) -> str | float:
        try:
            share(value)
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("words")
    @classmethod
    def _a_number_or_a_share(cls, value: int | float) -> int | float:
        if value > 1 and not float(value).is_integer():
            raise ValueError("words wants a whole number, or a share below 1")
        return int(value) if value >= 1 else value

    @field_validator("clusters")
    @classmethod
    def _at_least_one(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        listed = (value,) if isinstance(value, int) else value
        if not listed or min(listed) < 1:
            raise ValueError("clusters wants a number of 1 or more, or several")
        if len(listed) > 1 and min(listed) < 2:
            raise ValueError("clusters wants numbers of 2 or more to choose from")
        return value


class SelectionConfig(SelectionRule):
    """Everything that determines a selection.

    Attributes:
        samples: The set: any file that :func:`~eotune.data.instructions.open_instructions` reads.
        images: Folder that its image paths start at; found where not given.
        split: Take only this split.
        without: Images, by their paths in the set, whose samples are passed over and count for nothing.
    """

    samples: Path
    images: Path | None = None
    split: str | None = None
    without: tuple[str, ...] = ()
