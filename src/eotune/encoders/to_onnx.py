"""Encoders as ONNX graphs, whatever a method put into them: both towers to unit embeddings, or images to classes."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eotune.core.errors import EotuneError
from eotune.core.files import read_json, write_json
from eotune.core.lookup import require
from eotune.core.progress import say
from eotune.encoders.base import DualEncoder, ImageEncoder, evaluating
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.image import HFImageEncoder
from eotune.encoders.positions import settle_positions
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import first_line, read_tokenizer

EXTRA = "onnx"
IMAGE, TEXT, PREPARATION = "image.onnx", "text.onnx", "preprocessing.json"
_EMBEDDINGS, _CLASSES = ("embeddings",), ("features", "probabilities")
_OPSET = 20  # onnxruntime reads it since its 1.17
_ONE_FILE = 2**30  # bytes; protobuf ends at 2 GiB, larger weights go to a file beside the graph


class _ImageTower(nn.Module):
    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.normalize(self.encoder.image_features(pixels), dim=-1)


class _TextTower(nn.Module):
    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return nn.functional.normalize(self.encoder.text_features(input_ids, attention_mask), dim=-1)


class _Classes(nn.Module):
    weight: Tensor
    bias: Tensor

    def __init__(self, encoder: ImageEncoder, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder.image_features(pixels)
        return features, torch.softmax(nn.functional.linear(features, self.weight, self.bias), dim=-1)


def check_packages() -> None:
    """Refuse to begin without what writes graphs and what checks them.

    Raises:
        MissingExtraError: One of the packages is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, EXTRA)


def write_onnx(encoder: DualEncoder, directory: Path) -> None:
    """Write image.onnx, text.onnx, preprocessing.json and the tokenizer's files.

    ``image.onnx`` maps ``pixels``, float32 ``(n, 3, s, s)``, normalised; ``text.onnx`` maps ``input_ids`` and
    ``attention_mask``, int64 ``(n, t)``, padded on the right; each to ``embeddings``, float32 ``(n, d)`` of unit
    length. n and t are free. preprocessing.json says how both are prepared, and the logit scale and bias.

    Args:
        encoder: Adapted in any way.
        directory: Where to; it exists.

    Raises:
        MissingExtraError: The extra ``onnx`` is not installed.
        EotuneError: torch cannot follow the model's computation (SigLIP 2 NaFlex, so far).
    """
    check_packages()
    if isinstance(encoder, HFDualEncoder):
        settle_positions(encoder)
    size = encoder.transform.size
    pixels = torch.zeros(2, 3, size, size)
    tokens = encoder.tokenize(["one", "a longer text"])
    with evaluating(encoder), torch.no_grad(), _quiet():
        _write(_ImageTower(encoder), {"pixels": pixels}, _EMBEDDINGS, directory / IMAGE, free=("n",))
        _write(_TextTower(encoder), tokens, _EMBEDDINGS, directory / TEXT, free=("n", "t"))
    encoder.tokenizer.save_pretrained(directory)
    write_json(directory / PREPARATION, _preparation(encoder))


def write_onnx_classifier(encoder: ImageEncoder, weight: Tensor, bias: Tensor, directory: Path) -> None:
    """Write image.onnx and preprocessing.json of an image encoder and a linear classifier on its features.

    ``image.onnx`` maps ``pixels``, float32 ``(n, b, s, s)``, normalised, to ``features`` ``(n, d)`` and
    ``probabilities`` ``(n, c)``, float32; n is free. preprocessing.json says how images are prepared.

    Args:
        encoder: Adapted in any way.
        weight: ``(c, d)``; probabilities are ``softmax(features @ weight.T + bias)``.
        bias: ``(c,)``.
        directory: Where to; it exists.

    Raises:
        MissingExtraError: The extra ``onnx`` is not installed.
        EotuneError: torch cannot follow the model's computation.
    """
    check_packages()
    if isinstance(encoder, HFImageEncoder):
        settle_positions(encoder)
    size = encoder.transform.size
    pixels = torch.zeros(2, encoder.channels, size, size)
    with evaluating(encoder), torch.no_grad(), _quiet():
        classes = _Classes(encoder, weight, bias)
        _write(classes, {"pixels": pixels}, _CLASSES, directory / IMAGE, free=("n",))
    write_json(directory / PREPARATION, {"images": asdict(encoder.transform)})


def _write(
    tower: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...], path: Path, *, free: tuple[str, ...]
) -> None:
    say(f"writing {path.name}")
    shapes = dict.fromkeys(range(len(free)), torch.export.Dim.DYNAMIC)
    try:
        program: Any = torch.onnx.export(
            tower.eval(), tuple(inputs.values()), input_names=tuple(inputs), output_names=outputs,
            dynamic_shapes=(shapes,) * len(inputs), opset_version=_OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        cause = error.__cause__  # the error itself only says in which step
        why = first_line(cause if isinstance(cause, Exception) else error)
        raise EotuneError(f"{path.stem} tower: torch cannot write this model as ONNX ({why})") from None
    graph = program.model.graph
    for node in graph.all_nodes():
        node.metadata_props.clear()  # source lines and paths of this machine
    size = sum(value.const_value.nbytes for value in graph.initializers.values())
    program.save(path, external_data=size > _ONE_FILE)


def _preparation(encoder: DualEncoder) -> dict[str, Any]:
    padded = isinstance(encoder, HFDualEncoder) and encoder.is_siglip  # SigLIP reads its padding
    return {
        "images": asdict(encoder.transform),
        "texts": {"max_tokens": encoder.max_tokens, "padding": "max_length" if padded else "longest"},
        "logit_scale": encoder.logit_scale().item(),
        "logit_bias": None if encoder.logit_bias is None else encoder.logit_bias.item(),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's remarks on packages that it could use, and on its own deprecations, off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class OnnxTowers:
    """What :func:`write_onnx` wrote, run by onnxruntime on the CPU, without torch or transformers models.

    Args:
        directory: With both graphs, preprocessing.json and the tokenizer.

    Raises:
        MissingExtraError: The extra ``onnx`` is not installed.
        InputError: A file is missing or broken.
    """

    def __init__(self, directory: Path) -> None:
        runtime = require("onnxruntime", EXTRA)
        said = read_json(directory / PREPARATION)
        self.transform = ImageTransform(**said["images"])
        self.texts = said["texts"]
        self.tokenizer = read_tokenizer(str(directory), rows=None)
        self.sessions = {
            name: runtime.InferenceSession(directory / name, providers=["CPUExecutionProvider"])
            for name in (IMAGE, TEXT)
        }

    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embed RGB images, uint8 ``(h, w, 3)`` of any size; returns float32 ``(n, d)`` of unit length."""
        pixels = torch.from_numpy(np.stack([self.transform(image) for image in images]))
        return self._run(IMAGE, {"pixels": self.transform.normalise(pixels).numpy()})

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts in one batch; returns float32 ``(n, d)`` of unit length."""
        tokens = self.tokenizer(
            list(texts),
            padding=self.texts["padding"],
            max_length=self.texts["max_tokens"],
            truncation=True,
            padding_side="right",
            return_tensors="np",
        )
        names = [one.name for one in self.sessions[TEXT].get_inputs()]
        return self._run(TEXT, {name: tokens[name] for name in names})

    def _run(self, name: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        result: np.ndarray = self.sessions[name].run(_EMBEDDINGS, inputs)[0]
        return result


def run_onnx_classifier(directory: Path, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Run what :func:`write_onnx_classifier` wrote by onnxruntime on the CPU.

    Args:
        directory: With image.onnx and preprocessing.json.
        images: uint8 ``(h, w, b)`` of any size.

    Returns:
        Features ``(n, d)`` and probabilities ``(n, c)``, float32.

    Raises:
        MissingExtraError: The extra ``onnx`` is not installed.
        InputError: preprocessing.json is missing or broken.
    """
    session = require("onnxruntime", EXTRA).InferenceSession(directory / IMAGE, providers=["CPUExecutionProvider"])
    transform = ImageTransform(**read_json(directory / PREPARATION)["images"])
    pixels = transform.normalise(torch.from_numpy(np.stack([transform(image) for image in images])))
    features, probabilities = session.run(_CLASSES, {"pixels": pixels.numpy()})
    return features, probabilities
