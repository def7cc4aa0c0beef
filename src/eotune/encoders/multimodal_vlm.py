"""Vision-language models of transformers: vectors of pairs, and answers."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eotune.core.errors import InputError
from eotune.encoders.base import Encoder, Tower, TowerName, evaluating
from eotune.encoders.blocks import find_blocks, find_patch_embedding
from eotune.encoders.characters_read import characters_read
from eotune.encoders.fingerprint import fingerprint
from eotune.encoders.multimodal import PairEncoder, check_pairs
from eotune.encoders.multimodal_inputs import PairInput, collate
from eotune.encoders.multimodal_parts import Part, find_parts
from eotune.encoders.multimodal_prompts import Prompts
from eotune.encoders.pretrained import (
    check_vocabulary,
    first_line,
    quiet,
    read_config,
    read_model,
    recompute_activations,
)
from eotune.encoders.shared_prefix import TokenPooling, shared_prefix_vectors, shares_prefix, text_vectors

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_WINDOW = 8  # batches that are prepared together and sorted by length


class VisionLanguageEncoder(PairEncoder, Encoder):
    """A vision-language model: the vector of a pair is pooled from the last hidden states of the text's tokens.

    Args:
        model: A transformers image-text-to-text model, with its head.
        processor: Its processor.
        pool: ``mean`` of the text's tokens, or the ``last``.
        normalize: Take vectors to unit length.
        max_text_tokens: Longer texts are cut.

    Attributes:
        parts: Paths of the modules and lone parameters of ``vision``, ``projector`` and ``language``; each parameter
            is in one of them.
        backbones: Name to path of the transformers model inside, for PEFT.
        pretrained_parameters: Number of parameters before a method adapted the model; None while none has.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        pool: TokenPooling = "mean",
        normalize: bool = False,
        max_text_tokens: int = 1024,
    ) -> None:
        super().__init__()
        self.name = "vlm"
        self.model: Any = model
        self.processor = processor
        self.pool: TokenPooling = pool
        self.normalize = normalize
        self.max_text_tokens = max_text_tokens
        self.parts: Mapping[Part, tuple[str, ...]] = find_parts(model, "model")
        self.backbones = {"": "model"}
        self.dim = int(model.config.get_text_config().hidden_size)
        self.prompts = Prompts(processor, _image_token(model.config), self.name)

    @cached_property
    def towers(self) -> dict[TowerName, Tower]:  # type: ignore[override] # found when a method first asks
        """The vision tower, with the projector where that is one module, and the language model."""
        vision, language = (self._root(part) for part in ("vision", "language"))
        projector = self.parts["projector"]
        module = self.get_submodule(vision)
        blocks = find_blocks(module, vision, causal=False)
        head = projector[0] if len(projector) == 1 else None
        return {
            "image": Tower("image", vision, head, blocks, find_patch_embedding(module, vision)),
            "text": Tower("text", language, None, find_blocks(self.get_submodule(language), language, causal=True)),
        }

    @property
    def channels(self) -> int:
        """Always RGB."""
        return 3

    @property
    def image_size(self) -> int:
        """Side of the vision tower's own square; what an image is resized to is the processor's matter."""
        return int(getattr(self.model.config.vision_config, "image_size", None) or 0)

    @cached_property
    def shares_prefix(self) -> bool:
        """Whether perturbed texts are encoded from the prefix that they share; tried once, on a fixed image."""
        image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        text = "a photo of many green trees and a road"
        one = self.prompts.pair(image, text)
        other = self.prompts.reworded(one, image, text, "a photo of green trees and a road")
        with evaluating(self):
            return shares_prefix(self.model.model, one, other, pad_id=self.prompts.pad_id)

    def pair_vectors(self, images: Sequence[np.ndarray], texts: Sequence[str], *, batch_size: int = 16) -> np.ndarray:
        """See :meth:`PairEncoder.pair_vectors`."""
        check_pairs(images, texts)
        vectors = np.zeros((len(texts), self.dim), np.float32)
        with evaluating(self):
            for window in _windows(len(texts), batch_size):
                pairs = [self._cut(self.prompts.pair(images[i], texts[i])) for i in window]
                for chosen in _by_length(list(map(len, pairs)), batch_size):
                    found = text_vectors(
                        self.model.model, [pairs[i] for i in chosen], self.pool, pad_id=self.prompts.pad_id
                    )
                    vectors[window.start + chosen] = self._scaled(found).cpu().numpy()
        return vectors

    def perturbed_distances(
        self,
        images: Sequence[np.ndarray],
        texts: Sequence[str],
        perturbed: Sequence[Sequence[str]],
        *,
        batch_size: int = 16,
    ) -> np.ndarray:
        """See :meth:`PairEncoder.perturbed_distances`; what cannot share a prefix takes plain passes."""
        distances = np.zeros((len(texts), check_pairs(images, texts, perturbed)), np.float32)
        if not distances.size:
            return distances
        with evaluating(self):
            for window in _windows(len(texts), batch_size):
                pairs = [self.prompts.pair(images[i], texts[i]) for i in window]
                others = [
                    [self._cut(self.prompts.reworded(pair, images[i], texts[i], text)) for text in perturbed[i]]
                    for i, pair in zip(window, pairs, strict=True)
                ]
                pairs = list(map(self._cut, pairs))
                for chosen in _by_length(list(map(len, pairs)), batch_size):
                    vectors, moved = self._both([pairs[i] for i in chosen], [others[i] for i in chosen])
                    apart = (self._scaled(vectors)[:, None] - self._scaled(moved)).norm(dim=-1)
                    distances[window.start + chosen] = apart.cpu().numpy()
        return distances

    def characters_read(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """See :meth:`PairEncoder.characters_read`."""
        return characters_read(self.prompts.tokenizer, texts, self.max_text_tokens)

    @torch.inference_mode()
    def generate(
        self,
        images: Sequence[np.ndarray | None],
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 32,
        batch_size: int = 16,
    ) -> list[str]:
        """Answer prompts, always by the likeliest token, whatever else the model's generation_config.json asks for.

        Args:
            images: uint8 ``(h, w, 3)`` of any size; None where a prompt is asked without an image.
            prompts: As many.
            max_new_tokens: Longest answer.
            batch_size: Number of prompts a pass.

        Returns:
            The answers, without special tokens and surrounding space, in the order given.

        Raises:
            InputError: There are more images than prompts or fewer, or one of them cannot be prepared.
        """
        check_pairs(images, prompts)
        answers = [""] * len(prompts)
        with evaluating(self), quiet():
            # Prompts without an image first: one batch either has pixels or none.
            order = sorted(range(len(prompts)), key=lambda i: images[i] is not None)
            blind = sum(image is None for image in images)
            for kind in (order[:blind], order[blind:]):
                for window in _windows(len(kind), batch_size):
                    numbers = [kind[i] for i in window]
                    asked = [self.prompts.question(images[i], prompts[i]) for i in numbers]
                    lengths = [one["input_ids"].shape[1] for one in asked]
                    for chosen in _by_length(lengths, batch_size):
                        found = self._answers([asked[i] for i in chosen], max_new_tokens)
                        for i, answer in zip(chosen, found, strict=True):
                            answers[numbers[i]] = answer
        return answers

    def fingerprint(self) -> str:
        """See :meth:`~eotune.encoders.base.Encoder.fingerprint`."""
        settings = (self.pool, self.normalize, self.max_text_tokens, self.model.dtype)
        return fingerprint(self.model, *settings, self.processor.to_json_string(), self.processor.chat_template)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass."""
        recompute_activations(self.model)

    def save(self, directory: Path) -> None:
        """Write the model and its processor in transformers' own layout, which ``vlm:DIR`` reads."""
        self.model.save_pretrained(directory)
        self.processor.save_pretrained(directory)

    def _both(self, pairs: Sequence[PairInput], others: Sequence[Sequence[PairInput]]) -> tuple[Tensor, Tensor]:
        """Return the vectors of pairs, ``(n, d)``, and of their other texts, ``(n, repeats, d)``."""
        model, pad = self.model.model, self.prompts.pad_id
        found = shared_prefix_vectors(model, pairs, others, self.pool, pad_id=pad) if self.shares_prefix else None
        if found is not None:
            return found
        columns = [pairs, *zip(*others, strict=True)]
        first, *moved = [text_vectors(model, column, self.pool, pad_id=pad) for column in columns]
        return first, torch.stack(moved, 1)

    def _answers(self, asked: Sequence[Any], max_new_tokens: int) -> list[str]:
        from transformers import GenerationConfig

        batch = collate(asked, self.prompts.pad_id, side="left")
        own = self.model.generation_config
        settings = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            bos_token_id=own.bos_token_id,
            pad_token_id=self.prompts.pad_id,
            eos_token_id=self.prompts.tokenizer.eos_token_id if own.eos_token_id is None else own.eos_token_id,
        )
        tensors = {
            name: one.to(self.model.device, self.model.dtype if one.is_floating_point() else None)
            for name, one in batch.items()
        }
        # What the model's own file says of beams, penalties and forbidden tokens would fill what is left open here.
        self.model.generation_config = settings
        try:
            ids = self.model.generate(**tensors, generation_config=settings)[:, batch["input_ids"].shape[1] :]
        finally:
            self.model.generation_config = own
        return [text.strip() for text in self.prompts.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def _cut(self, pair: PairInput) -> PairInput:
        return pair.cut(pair.text_start + self.max_text_tokens)

    def _scaled(self, vectors: Tensor) -> Tensor:
        return torch.nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors

    def _root(self, part: Part) -> str:
        """Return the module that holds a part, but for the projector inside it and the head."""
        first = self.parts[part][0]
        return first if part == "language" or len(self.parts[part]) == 1 else first.rpartition(".")[0]


def load_vlm(
    source: str,
    *,
    pool: TokenPooling = "mean",
    normalize: bool = False,
    precision: str = "fp32",
    max_text_tokens: int = 1024,
) -> VisionLanguageEncoder:
    """Load a vision-language model and its processor from a directory or the hub.

    Args:
        source: A directory, or a hub id.
        pool: ``mean`` of the text's tokens, or the ``last``.
        normalize: Take vectors to unit length.
        precision: ``fp32``, ``bf16`` or ``fp16``: of the weights.
        max_text_tokens: Longer texts are cut.

    Raises:
        InputError: It cannot be read, or is no vision-language model that transformers itself holds.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if not source:
        raise InputError("encoder 'vlm:'", remedy="write for instance vlm:HuggingFaceTB/SmolVLM-256M-Instruct")
    config = read_config(source)
    if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES or config.is_encoder_decoder:
        raise InputError(
            f"{source}: is a {config.model_type} model, not a vision-language model that vlm: reads",
            remedy="name one such as LLaVA, SmolVLM, Qwen-VL, InternVL or PaliGemma; a dual encoder has no vlm:",
        )
    model = read_model(AutoModelForImageTextToText, source, dtype=_DTYPES[precision])
    processor = _read_processor(source)
    check_vocabulary(source, processor.tokenizer, model.get_input_embeddings().weight.shape[0])
    encoder = VisionLanguageEncoder(model, processor, pool=pool, normalize=normalize, max_text_tokens=max_text_tokens)
    encoder.name = f"vlm:{source}"
    return encoder


def _image_token(config: Any) -> int:
    for name in ("image_token_id", "image_token_index"):
        if isinstance(getattr(config, name, None), int):
            return int(getattr(config, name))
    raise InputError(
        f"a {config.model_type} model has no token that stands for an image",
        remedy="name a model such as LLaVA, SmolVLM, Qwen-VL, InternVL or PaliGemma",
    )


def _read_processor(source: str) -> Any:
    """Load a processor whose images are prepared by Pillow, whatever is installed: torchvision's pixels are others."""
    from transformers import AutoImageProcessor, AutoProcessor

    plain: dict[str, Any] = {"trust_remote_code": False}
    try:
        with quiet():
            try:
                processor = AutoProcessor.from_pretrained(source, backend="pil", **plain)
            except ImportError:  # the part for videos knows torchvision alone
                processor = AutoProcessor.from_pretrained(source, **plain)
                processor.image_processor = AutoImageProcessor.from_pretrained(source, backend="pil", **plain)
    except Exception as error:  # many kinds: missing files, broken JSON, a package that is not installed
        if find_spec("torchvision") is None and ("torchvision" in str(error) or "video" in str(error).lower()):
            raise InputError(
                f"{source}: the processor's part for videos needs torchvision",
                remedy="run: pip install 'eotune[interop]'",
            ) from None
        raise InputError(
            f"{source}: no processor could be read ({first_line(error)})",
            remedy="the directory needs processor_config.json or preprocessor_config.json, and tokenizer files",
        ) from None
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise InputError(
            f"{source}: no image processor beside the tokenizer", remedy="add the files that came with the model"
        )
    return processor


def _windows(count: int, batch_size: int) -> Iterator[range]:
    size = batch_size * _WINDOW
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def _by_length(lengths: Sequence[int], batch_size: int) -> Iterator[np.ndarray]:
    """Yield batches of indices, of like lengths together: little is padded."""
    order = np.argsort(lengths, kind="stable")
    return (order[start : start + batch_size] for start in range(0, len(order), batch_size))
