"""From a finished run to files that other tools load, held against the run's own embeddings before they are kept."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from eotune import encoders
from eotune.core.errors import EotuneError, InputError
from eotune.core.files import new_directory
from eotune.core.lookup import unknown_name
from eotune.encoders.base import DualEncoder
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.positions import settle_positions
from eotune.encoders.pretrained import quiet
from eotune.encoders.to_onnx import OnnxTowers, check_packages, write_onnx
from eotune.encoders.to_open_clip import is_clip, read_open_clip, write_open_clip
from eotune.methods.adapted import Description, load_adapted_method, load_model, read_description
from eotune.methods.base import Method
from eotune.methods.to_peft import obstacle, read_peft, write_peft
from eotune.runs.card import write_card
from eotune.runs.export_files import card_needs, sizes
from eotune.runs.export_readme import how_to_load, library_of
from eotune.runs.image_export import export_image_encoder
from eotune.runs.instruct_export import export_vision_language

FORMATS = ("hf", "open_clip", "peft", "onnx")
_CARD_READS = ("recipe.yaml", "metrics.json", "summary.json", "data.json", "environment.json")
_CENTRES: dict[str, Literal["floor", "round"]] = {"hf": "floor", "open_clip": "round"}
TOLERANCE = 1e-4  # on the numbers of unit embeddings


class Embeds(Protocol):
    """What embeds images and texts."""

    def embed_images(self, images: Sequence[np.ndarray], /) -> np.ndarray:
        """Return float32 ``(n, d)`` of unit length."""
        ...

    def embed_texts(self, texts: Sequence[str], /) -> np.ndarray:
        """Return float32 ``(n, d)`` of unit length."""
        ...


def export(run: Path, to: str, out: Path) -> dict[str, Any]:
    """Write a finished run's model in another tool's format.

    What was written is read back and embeds random images and texts; where that differs from the run's own model by
    more than :data:`TOLERANCE`, nothing is kept.

    Args:
        run: A run directory.
        to: ``hf``: transformers' layout, adapters merged (for composed encoders, which transformers has no class for,
            the layout of ``composed:DIR``); ``open_clip``: CLIP models, adapters merged; ``peft``: a LoRA adapter;
            ``onnx``: both towers as graphs, whatever the method.
        out: The directory to write; an existing one is refused.

    Returns:
        ``format``, ``out``, ``files`` (name to bytes) and ``max_difference`` of the embeddings; for image
        encoders see :func:`~eotune.runs.image_export.export_image_encoder`, for vision-language models
        :func:`~eotune.runs.instruct_export.export_vision_language`.

    Raises:
        InputError: The run is not finished or broken, the format is unknown, or the run does not fit it.
        MissingExtraError: ``onnx`` without the extra of that name.
        EotuneError: What was written does not give the run's embeddings.
    """
    if to not in FORMATS:
        raise unknown_name("export format", to, FORMATS)
    if to == "onnx":
        check_packages()
    description = _described(run)
    if description.kind == "vlm":
        return export_vision_language(run, to, out)
    if description.kind == "image":
        return export_image_encoder(run, to, out, description)
    with new_directory(out) as folder:
        encoder, method = load_adapted_method(run)
        if not isinstance(encoder, DualEncoder):
            raise InputError(f"{run}: adapts no model of images and texts", remedy="run the recipe again")
        recentred = _recentre(to, encoder)
        images, texts = _probes(encoder)
        expected = encoder.embed_images(images), encoder.embed_texts(texts)
        with quiet():
            _write(run, to, encoder, method, folder)
        written = _read(to, encoder, description, folder)
        found = written.embed_images(images), written.embed_texts(texts)
        difference = float(np.max([np.abs(one - other).max() for one, other in zip(found, expected, strict=True)]))
        if not difference <= TOLERANCE:  # so, not-a-number counts as a difference
            raise EotuneError(
                f"{run}: read back from {to}, embeddings differ from the run's own by {difference:.1e} "
                f"(at most {TOLERANCE:.0e} is allowed); nothing was kept"
            )
        load = how_to_load(to, encoder, description.encoder, out.name, recentred=recentred)
        with card_needs(run, "recipe.yaml and the .json files"):
            write_card(run, to=folder, library=library_of(to, encoder), load=load)
        files = sizes(folder)
    return {"format": to, "out": str(out), "files": files, "max_difference": difference}


def _described(run: Path) -> Description:
    """Return what was adapted and how, of a run that has everything else too."""
    description = read_description(run)[1]
    missing = [name for name in _CARD_READS if not (run / name).is_file()]
    if missing:
        raise InputError(
            f"{run}: is not the directory of a finished run (no {missing[0]})",
            remedy="name one, or finish it with eotune run --resume",
        )
    return description


def _recentre(to: str, encoder: DualEncoder) -> bool:
    """Cut images' centres out as the other tool does, where it cannot be told; return whether that is a change."""
    before = encoder.transform
    if to in _CENTRES and isinstance(encoder, HFDualEncoder):
        encoder.transform = replace(before, centre=_CENTRES[to])
    return encoder.transform != before


def _write(run: Path, to: str, encoder: DualEncoder, method: Method, folder: Path) -> None:
    if to == "onnx":
        method.merge(encoder)  # where it can be: a smaller graph
        write_onnx(encoder, folder)
    elif to == "peft":
        if problem := obstacle(encoder, method):
            raise _refusal(run, to, problem, encoder, method)
        write_peft(encoder, method, folder)
    elif not method.merge(encoder):
        problem = f"method {method.config.name!r} changes the computation and cannot be folded into the weights"
        raise _refusal(run, to, problem, encoder, method)
    elif to == "hf":
        if isinstance(encoder, HFDualEncoder):
            settle_positions(encoder)
        encoder.save(folder)
    elif isinstance(encoder, HFDualEncoder) and is_clip(encoder):
        write_open_clip(encoder, folder)
    else:
        raise _refusal(run, to, "only CLIP models have an open_clip form", encoder, method)


def _refusal(run: Path, to: str, problem: str, encoder: DualEncoder, method: Method) -> InputError:
    works = [*(("hf", "open_clip") if is_clip(encoder) else ("hf",)), "onnx"] if method.merge(encoder) else ["onnx"]
    return InputError(
        f"{run}: cannot be exported to {to}: {problem}", remedy=f"what works: --format {' or '.join(works)}"
    )


def _read(to: str, encoder: DualEncoder, description: Description, folder: Path) -> Embeds:
    """Read back what was written, as a stranger would; only its kind is taken from ``encoder``."""
    if to == "onnx":
        return OnnxTowers(folder)
    if to == "open_clip":
        return read_open_clip(folder).eval()
    if to == "peft":
        return read_peft(load_model(description.encoder, description.image_size), folder)
    return encoders.load(f"{'hf' if isinstance(encoder, HFDualEncoder) else 'composed'}:{folder}")


def _probes(encoder: DualEncoder) -> tuple[list[np.ndarray], list[str]]:
    """Return random images, square and not, and random texts, of which one is longer than the model reads."""
    generator = np.random.default_rng(0)
    size = encoder.transform.size
    shapes = ((size, size), (size + 9, 2 * size), (size + size // 2, size))
    images = [generator.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    vocabulary = len(encoder.tokenizer)
    texts = [
        encoder.tokenizer.decode(generator.integers(vocabulary, size=count).tolist(), skip_special_tokens=True)
        for count in (1, 5, 2 * encoder.max_tokens)
    ]
    return images, texts
