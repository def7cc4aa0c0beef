"""A finished run as others read it: its recipe, figures and ranks, checked, from the files of its directory."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.core.files import read_json
from eotune.methods.by_name import method_config
from eotune.metrics.retrieval import RetrievalRanks
from eotune.runs.recipe import Recipe, read_recipe

_ROW = {"task", "split", "model", "metric", "value", "low", "high"}


@dataclass(frozen=True)
class FinishedRun:
    """What a run directory says.

    Attributes:
        path: The directory.
        recipe: Of the run.
        rows: Of metrics.json.
        summary: Parameters, times and memory.
        digest: Of the test split: equal exactly where images and captions are.
        machine: Processor and devices that it ran on.
    """

    path: Path
    recipe: Recipe
    rows: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]
    digest: str
    machine: str

    def row(self, metric: str, *, split: str = "test", model: str = "adapted") -> Mapping[str, Any] | None:
        """Return one row of metrics.json, or None."""
        what = (metric, split, model)
        return next((row for row in self.rows if (row["metric"], row["split"], row["model"]) == what), None)

    def settings(self) -> dict[str, Any]:
        """Return the recipe by dotted keys, every default written out, without its name, seed and retention set."""
        values = self.recipe.model_dump(mode="json", exclude={"name": True, "seed": True, "task": {"retention"}})
        values["method"] = method_config(self.recipe.method, source=str(self.path / "recipe.yaml")).model_dump(
            mode="json"
        )
        return dict(_flat(values))

    def ranks(self) -> tuple[RetrievalRanks, np.ndarray] | None:
        """Return the adapted model's ranks on the test split and each caption's image; None where none are kept.

        Raises:
            InputError: The file is broken.
        """
        path = self.path / "embeddings.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if "adapted_image_ranks" not in arrays:
                    return None
                ranks = RetrievalRanks(arrays["adapted_image_ranks"], arrays["adapted_text_ranks"])
                owner = np.asarray(arrays["image_index"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: cannot be read ({error})", remedy="remove it, or run the recipe again") from None
        images, texts = ranks.image_to_text.shape, ranks.text_to_image.shape
        if len(images) != 1 or owner.shape != texts or not ((owner >= 0) & (owner < images[0])).all():
            raise InputError(f"{path}: ranks and images do not match", remedy="remove it, or run the recipe again")
        return ranks, owner


def read_run(path: Path) -> FinishedRun:
    """Read a run directory.

    Raises:
        InputError: It is none, is not finished, or one of its files is broken.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such run directory", remedy="name directories that eotune run made")
    if not (path / "recipe.yaml").is_file():
        raise InputError(f"{path}: is not a run directory (no recipe.yaml)", remedy="name one that eotune run made")
    rows = read_json(path / "metrics.json") if (path / "metrics.json").is_file() else []
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise InputError(f"{path / 'metrics.json'}: is no list of figures", remedy="run the recipe again")
    if not any(row["split"] == "test" for row in rows):
        raise InputError(
            f"{path}: is not finished (no figures of the test split)",
            remedy=f"finish it with: eotune run {path / 'recipe.yaml'} --out {path} --resume",
        )
    data, summary, environment = (_mapping(path / name) for name in ("data.json", "summary.json", "environment.json"))
    try:
        digest = data["splits"]["test"]["sha256"]
    except (KeyError, TypeError):
        raise InputError(
            f"{path / 'data.json'}: has no checksum of the test split", remedy="run the recipe again"
        ) from None
    machine = f"{environment.get('processor')}, {environment.get('threads')} threads, {environment.get('devices')}"
    return FinishedRun(path, read_recipe(path / "recipe.yaml"), rows, summary, str(digest), machine)


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and row.keys() >= _ROW and isinstance(row["value"], int | float)


def _mapping(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no JSON object", remedy="run the recipe again")
    return values


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, value))
    return pairs
