"""The classifiers of a long-tail run on disk: what `eotune predict` reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from eotune.core.config import Config, parse
from eotune.core.errors import InputError
from eotune.core.files import read_json, replaced, write_json
from eotune.methods.weights import read_weights
from eotune.metrics.linear_probe import Probe
from eotune.tasks.heads import Head, make_head
from eotune.tasks.long_tail_evaluation import ClassScores
from eotune.tasks.long_tail_objective import LongTailObjectiveConfig

FOLDER = "classifiers"
_DESCRIPTION = "classifiers.json"


class _Saved(Config):
    temperature: float
    validation_macro_f1: float
    l2: float | None = None


class Description(Config):
    """What classifiers.json holds.

    Attributes:
        classes: Names, in the order of the scores.
        dim: Length of a feature.
        best: The classifier with the highest macro F1 on validation.
        classifiers: Each one's temperature and macro F1 on validation (a share), and a probe's strength.
        objective: Which kind of head ``own`` is.
    """

    classes: tuple[str, ...]
    dim: int
    best: str
    classifiers: Mapping[str, _Saved]
    objective: LongTailObjectiveConfig


def save_classifiers(
    run: Path,
    scores: Mapping[str, ClassScores],
    *,
    classes: tuple[str, ...],
    dim: int,
    objective: LongTailObjectiveConfig,
) -> None:
    """Write every classifier's weights, and last what they are."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, one in scores.items():
        with replaced(folder / f"{name}.safetensors") as temporary:
            save_file(_arrays(one.score), temporary)
    described = {
        "classes": classes,
        "dim": dim,
        "best": max(scores, key=lambda name: scores[name].validation_macro_f1),
        "classifiers": {
            name: {
                "temperature": one.temperature,
                "validation_macro_f1": one.validation_macro_f1,
                "l2": one.score.l2 if isinstance(one.score, Probe) else None,
            }
            for name, one in scores.items()
        },
        "objective": objective.model_dump(mode="json"),
    }
    write_json(folder / _DESCRIPTION, described)


def read_classifiers(run: Path) -> tuple[Description, dict[str, ClassScores]] | None:
    """Read what :func:`save_classifiers` wrote; None where it wrote nothing.

    Raises:
        InputError: A file is broken.
    """
    folder = run / FOLDER
    if not (folder / _DESCRIPTION).is_file():
        return None
    description = parse(Description, read_json(folder / _DESCRIPTION), source=str(folder / _DESCRIPTION))
    scores = {}
    for name, saved in description.classifiers.items():
        source = folder / f"{name}.safetensors"
        arrays = {key: tensor.numpy() for key, tensor in read_weights(source).items()}
        score = (
            _head(description, arrays, source) if saved.l2 is None else _probe(description, arrays, saved.l2, source)
        )
        scores[name] = ClassScores(score, saved.temperature, saved.validation_macro_f1)
    return description, scores


def _arrays(score: Probe | Head) -> dict[str, np.ndarray]:
    if isinstance(score, Probe):
        return {name: np.ascontiguousarray(getattr(score, name)) for name in ("weight", "bias", "mean", "std")}
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in score.state_dict().items()}


def _probe(description: Description, arrays: Mapping[str, np.ndarray], l2: float, source: Path) -> Probe:
    c, d = len(description.classes), description.dim
    if {name: array.shape for name, array in arrays.items()} != {
        "weight": (c, d), "bias": (c,), "mean": (d,), "std": (d,),
    }:  # fmt: skip
        raise InputError(f"{source}: holds no probe of {d} features and {c} classes", remedy="run the recipe again")
    return Probe(**arrays, l2=l2)


def _head(description: Description, arrays: Mapping[str, Any], source: Path) -> Head:
    import torch

    branches = sum(name.startswith("scores.branches.") and name.endswith(".weight") for name in arrays)  # of ResLT
    head = make_head(description.objective, description.dim, len(description.classes), n_groups=branches)
    try:
        head.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    except RuntimeError:
        raise InputError(f"{source}: holds another kind of head", remedy="run the recipe again") from None
    return head.eval()
