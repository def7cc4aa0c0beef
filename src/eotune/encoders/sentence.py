"""Sentence encoders: texts to vectors of unit length, by sentence-transformers or by a dual encoder's text tower."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eotune.core.errors import InputError
from eotune.core.lookup import require
from eotune.encoders.base import DualEncoder, autocast, evaluating
from eotune.encoders.by_name import check_dual, load
from eotune.encoders.characters_read import characters_read
from eotune.encoders.pretrained import check_source, first_line, quiet
from eotune.encoders.sources import OFFLINE_TEXT, text_source

_OFFLINE = "minilm"
_SCHEME = "st:"


class SentenceEncoder(Protocol):
    """What embeds texts.

    Attributes:
        name: The string that loads it again.
        dim: Size ``d`` of an embedding.
    """

    name: str
    dim: int

    def embed(self, texts: Sequence[str], *, batch_size: int = 64, precision: str = "fp32") -> np.ndarray:
        """Embed texts, in batches by length; returns float32 ``(n, d)`` of unit length, in the order given."""
        ...

    def characters_read(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return how many characters of each text are read, ``(n,)``: less than its length where it is cut."""
        ...


class PackagedSentenceEncoder(nn.Module):
    """A model of sentence-transformers, with its own pooling, prompts and longest text.

    Args:
        model: A ``SentenceTransformer``.
        name: What loads it again.
    """

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model: Any = model
        self.name = name
        self.dim = int(model.get_embedding_dimension())

    def embed(self, texts: Sequence[str], *, batch_size: int = 64, precision: str = "fp32") -> np.ndarray:
        """See :class:`SentenceEncoder`."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        with evaluating(self), torch.inference_mode(), autocast(self.model.device, precision):
            embeddings = self.model.encode(
                list(texts), batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
            )
        return nn.functional.normalize(embeddings.float(), dim=-1).cpu().numpy()

    def characters_read(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """See :class:`SentenceEncoder`."""
        lengths = np.array(list(map(len, texts)), np.int64)
        tokenizer, limit = self.model.tokenizer, self.model.max_seq_length
        if limit is None or not hasattr(tokenizer, "num_special_tokens_to_add"):  # tables of words read everything
            return lengths
        before = self.model.prompts.get(self.model.default_prompt_name) or ""
        found = characters_read(
            tokenizer, [before + text for text in texts], int(limit) - tokenizer.num_special_tokens_to_add()
        )
        return np.clip(found - len(before), 0, lengths)


class TextTowerEncoder(nn.Module):
    """The text side of a dual encoder.

    Args:
        encoder: Its image side stays unused.
    """

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.name = encoder.name
        self.dim = encoder.dim

    def embed(self, texts: Sequence[str], *, batch_size: int = 64, precision: str = "fp32") -> np.ndarray:
        """See :class:`SentenceEncoder`."""
        return self.encoder.embed_texts(texts, batch_size=batch_size, precision=precision)

    def characters_read(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """See :class:`SentenceEncoder`."""
        return self.encoder.characters_read(texts)


def load_sentence(
    name: str, *, load_dual: Callable[[str], DualEncoder] = load
) -> PackagedSentenceEncoder | TextTowerEncoder:
    """Load a sentence encoder, in float32, on the CPU.

    Args:
        name: ``st:ID_OR_DIR`` for a model of sentence-transformers (``st:BAAI/bge-large-en-v1.5``), ``minilm`` for the
            all-MiniLM-L6-v2 of the offline-text extra, or a dual encoder (``tiny``, ``hf:...``; see docs/encoders.md)
            for its text tower.
        load_dual: What loads a dual encoder; :func:`~eotune.methods.adapted.load_model` knows adapted ones too.

    Raises:
        InputError: The name is not one of these, or what it names cannot be read.
        MissingExtraError: It needs the offline-text extra.

    Example:
        >>> load_sentence("tiny").embed(["a harbour", "a forest"]).shape
        (2, 128)
    """
    source = check_sentence(name)
    if source is None:
        return TextTowerEncoder(load_dual(name))
    kind = require("sentence_transformers", OFFLINE_TEXT).SentenceTransformer
    weights = {"use_safetensors": True, "dtype": torch.float32}
    try:
        with quiet():
            model = kind(source, device="cpu", trust_remote_code=False, model_kwargs=weights)
    except Exception as error:  # many kinds: a missing file, broken JSON, pickles only, no network
        raise InputError(
            f"{source}: no sentence encoder could be read ({first_line(error)})",
            remedy="check the name and the network, or name a directory with modules.json and safetensors",
        ) from None
    return PackagedSentenceEncoder(model.eval(), name)


def check_sentence(name: str) -> str | None:
    """Check what can be known of a sentence encoder before it is loaded.

    Args:
        name: As :func:`load_sentence` takes it.

    Returns:
        The directory or hub id of a model of sentence-transformers; None for a dual encoder.

    Raises:
        InputError: The name says nothing, or a directory is missing or no such model.
        MissingExtraError: It needs the offline-text extra.
    """
    if name != _OFFLINE and not name.startswith(_SCHEME):
        check_dual(name, [_OFFLINE, _SCHEME.removesuffix(":")])
        return None
    source = text_source(OFFLINE_TEXT) if name == _OFFLINE else name.removeprefix(_SCHEME)
    if not source:
        raise InputError(f"sentence encoder {name!r}", remedy="write for instance st:BAAI/bge-large-en-v1.5, or minilm")
    check_source(source)
    if Path(source).is_dir() and not (Path(source) / "modules.json").is_file():
        # sentence-transformers would pool by the mean, whatever the model was trained with.
        raise InputError(
            f"{source}: no modules.json, so it is no model of sentence-transformers", remedy="name one that is"
        )
    require("sentence_transformers", OFFLINE_TEXT)
    return source
