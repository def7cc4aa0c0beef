"""From a finished run of long-tailed classes to an image encoder and a classifier that other tools load."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from eotune import encoders
from eotune.core.errors import EotuneError, InputError
from eotune.core.files import new_directory, replaced, write_json
from eotune.encoders.base import ImageEncoder
from eotune.encoders.grouped import WEIGHTS, GroupedImageEncoder
from eotune.encoders.image import HFImageEncoder
from eotune.encoders.positions import settle_positions
from eotune.encoders.pretrained import quiet
from eotune.encoders.to_onnx import run_onnx_classifier, write_onnx_classifier
from eotune.methods.adapted import ADAPTER, Description, load_adapted_method, load_image_model
from eotune.methods.base import Method
from eotune.methods.to_peft import obstacle, read_peft, write_peft
from eotune.metrics.calibration import calibrated_probabilities
from eotune.runs.export_files import card_needs, sizes
from eotune.runs.image_export_readme import how_to_load
from eotune.runs.linear_classifier import LinearClassifier, best_linear
from eotune.runs.long_tail_card import write_card
from eotune.runs.saved_bands import BANDS

TOLERANCE = 1e-4  # on probabilities, and on features relative to the largest number among them
CLASSIFIER, CLASSES = "classifier.safetensors", "classes.json"
_CARD_READS = ("classes.csv", "predictions.npz")  # beside what every run has
_LIBRARIES = {"hf": "transformers", "peft": "peft", "onnx": "onnx"}


@dataclass(frozen=True, eq=False)
class _Adapted:
    """What is exported."""

    run: Path
    description: Description
    encoder: ImageEncoder
    method: Method
    classifier: LinearClassifier


def export_image_encoder(run: Path, to: str, out: Path, description: Description) -> dict[str, Any]:
    """Write a finished run's image encoder in another tool's format, and its best linear classifier.

    What was written is read back and sees random images; where features or probabilities differ from the run's own by
    more than :data:`TOLERANCE`, nothing is kept.

    Args:
        run: A run directory.
        to: ``hf``: transformers' layout, adapters merged (of SatMAE's multispectral models, their own layout);
            ``peft``: a LoRA adapter; ``onnx``: one graph from pixels to features and probabilities, whatever the
            method.
        out: The directory to write; an existing one is refused.
        description: Of what was adapted.

    Returns:
        ``format``, ``out``, ``files`` (name to bytes), ``max_difference`` of what was ``compared``, and which
        ``classifier`` it is.

    Raises:
        InputError: The run is not finished or broken, or does not fit the format.
        MissingExtraError: ``onnx`` without the extra of that name.
        EotuneError: What was written does not give the run's features and probabilities.
    """
    if missing := [name for name in _CARD_READS if not (run / name).is_file()]:
        raise InputError(
            f"{run}: is not the directory of a finished run (no {missing[0]})",
            remedy="name one, or finish it with eotune run --resume",
        )
    classifier = best_linear(run)
    with new_directory(out) as folder:
        encoder, method = load_adapted_method(run)
        if not isinstance(encoder, ImageEncoder) or encoder.dim != classifier.weight.shape[1]:
            raise InputError(f"{run}: adapter and classifiers do not fit each other", remedy="run the recipe again")
        adapted = _Adapted(run, description, encoder, method, classifier)
        before = encoder.transform
        if to == "hf" and not isinstance(encoder, GroupedImageEncoder):
            encoder.transform = replace(before, centre="floor")  # as transformers cuts, where it cannot be told
        images = _probes(encoder)
        features = encoder.embed_images(images)
        expected = features, classifier.scores.probabilities(features)
        with quiet():
            _write(adapted, to, folder)
            difference = _difference(_read(adapted, to, folder, images), expected)
        if not difference <= TOLERANCE:  # so, not-a-number counts as a difference
            raise EotuneError(
                f"{run}: read back from {to}, features or probabilities differ from the run's own by {difference:.1e} "
                f"(at most {TOLERANCE:.0e} is allowed); nothing was kept"
            )
        _write_readme(adapted, to, folder, out.name, recentred=encoder.transform != before)
        files = sizes(folder)
    return {
        "format": to, "out": str(out), "files": files, "max_difference": difference,
        "compared": "features and probabilities", "classifier": classifier.name,
    }  # fmt: skip


def _write(adapted: _Adapted, to: str, folder: Path) -> None:
    encoder, method, classifier = adapted.encoder, adapted.method, adapted.classifier
    if problem := _problem(adapted, to):
        raise InputError(
            f"{adapted.run}: cannot be exported to {to}: {problem}",
            remedy=f"what works: --format {' or '.join(name for name in _LIBRARIES if not _problem(adapted, name))}",
        )
    if to == "peft":
        write_peft(encoder, method, folder)
    elif to == "hf":
        if isinstance(encoder, HFImageEncoder):
            settle_positions(encoder)
        encoder.save(folder)
    else:
        method.merge(encoder)  # where it can be: a smaller graph
        weight, bias = torch.from_numpy(classifier.weight), torch.from_numpy(classifier.bias)
        write_onnx_classifier(encoder, weight, bias, folder)
    if to != "onnx":
        with replaced(folder / CLASSIFIER) as temporary:
            save_file({"weight": classifier.weight, "bias": classifier.bias}, temporary)
    write_json(folder / CLASSES, {"classes": classifier.classes, "classifier": classifier.name})
    if (adapted.run / ADAPTER / BANDS).is_file():
        shutil.copyfile(adapted.run / ADAPTER / BANDS, folder / BANDS)


def _problem(adapted: _Adapted, to: str) -> str | None:
    """Return why a format does not fit; None if it does. Of ``hf``, merges the adapter."""
    encoder, method = adapted.encoder, adapted.method
    if to == "onnx":
        return None
    if to == "open_clip":
        return "only models of images and texts have an open_clip form"
    if not isinstance(encoder, HFImageEncoder) or encoder.projection is not None:
        what = "a projection" if isinstance(encoder, HFImageEncoder) else f"a {type(encoder).__name__}"
        return f"{what} has no place in this layout"
    if to == "peft":
        return obstacle(encoder, method) or _first_layer(adapted, encoder)
    if not method.merge(encoder):
        return f"method {method.config.name!r} changes the computation and cannot be folded into the weights"
    return None


def _first_layer(adapted: _Adapted, encoder: HFImageEncoder) -> str | None:
    """Return why peft, which brings no first layer for other bands, gives other features; None if it does not."""
    if isinstance(encoder, GroupedImageEncoder):
        return "SatMAE's multispectral model is no class of transformers"
    path = encoder.towers["image"].patch_embedding
    if path is None:
        return None
    ours, plain = (one.get_submodule(path).state_dict() for one in (encoder, _plain(adapted)))
    trained = getattr(adapted.method.config, "patch_embedding", None) == "trained"
    if all(ours[key].shape == plain[key].shape and (trained or torch.equal(ours[key], plain[key])) for key in plain):
        return None
    return f"the first layer was made for the bands {', '.join(encoder.bands or ())}, and the base's own is another"


def _plain(adapted: _Adapted) -> ImageEncoder:
    """Load the pretrained encoder as it is without eotune's bands."""
    return load_image_model(adapted.description.encoder, adapted.description.image_size)


def _read(adapted: _Adapted, to: str, folder: Path, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Read back what was written; return its features and probabilities of ``images``."""
    if to == "onnx":
        return run_onnx_classifier(folder, images)
    transform = adapted.encoder.transform
    if to == "peft":
        encoder = read_peft(_plain(adapted), folder)
        encoder.normalise_by(transform.mean, transform.std)
    elif isinstance(adapted.encoder, GroupedImageEncoder):
        name = f"satmae:{folder / WEIGHTS}#{adapted.encoder.pooling}"
        encoder = encoders.load_image(name, image_size=transform.size)
        encoder.normalise_by(transform.mean, transform.std)
    elif isinstance(adapted.encoder, HFImageEncoder):
        encoder = encoders.load_image(f"hf:{folder}#{adapted.encoder.pooling}")
    features = encoder.embed_images(images)
    classifier = load_file(folder / CLASSIFIER)
    return features, calibrated_probabilities(features @ classifier["weight"].T + classifier["bias"], 1.0)


def _difference(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the largest difference: of features relative to their largest number, of probabilities as it is."""
    features, probabilities = (np.abs(one - other).max() for one, other in zip(found, expected, strict=True))
    return float(np.maximum(features / np.abs(expected[0]).max(), probabilities))


def _probes(encoder: ImageEncoder) -> list[np.ndarray]:
    """Return random images, square and not."""
    generator, size = np.random.default_rng(0), encoder.transform.size
    shapes = ((size, size), (size + 9, 2 * size), (size + size // 2, size))
    return [generator.integers(0, 256, (*shape, encoder.channels), dtype=np.uint8) for shape in shapes]


def _write_readme(adapted: _Adapted, to: str, folder: Path, name: str, *, recentred: bool) -> None:
    bands = (folder / BANDS).is_file()
    base = adapted.description.encoder
    load = how_to_load(to, adapted.encoder, base, name, adapted.classifier, bands=bands, recentred=recentred)
    library = "eotune" if to == "hf" and isinstance(adapted.encoder, GroupedImageEncoder) else _LIBRARIES[to]
    with card_needs(adapted.run, "recipe.yaml, classes.csv and the .json files"):
        write_card(adapted.run, to=folder, library=library, load=load)
