"""Read pretrained transformers models: from a directory, or from the hub when named. Code and pickles stay unread."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError


def read_config(source: str) -> Any:
    """Return the configuration of the model at ``source``.

    Raises:
        InputError: There is none that transformers knows.
    """
    from transformers import AutoConfig

    check_source(source)
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # many kinds: a missing file, broken JSON, an unknown type, no network
        raise InputError(
            f"{source}: no model configuration could be read ({first_line(error)})", remedy=_remedy(source)
        ) from None


def read_model(kind: Any, source: str, *, part: bool = False, dtype: Any = None, **options: Any) -> Any:
    """Load ``kind.from_pretrained(source)`` from safetensors, every weight accounted for.

    Args:
        kind: A transformers class.
        source: A directory or a hub id.
        part: The model is part of what was saved (one tower of two, a backbone without its head): weights outside it
            may be left over.
        dtype: Of the weights in memory; None for float32.
        options: Passed on.

    Raises:
        InputError: Nothing loadable is there; weights are missing, of another shape, or left over.
    """
    import torch

    check_source(source)
    try:
        with quiet():
            model, info = kind.from_pretrained(
                source, dtype=dtype or torch.float32, use_safetensors=True, output_loading_info=True,
                trust_remote_code=False, ignore_mismatched_sizes=True, **options,
            )  # fmt: skip
    except Exception as error:  # transformers raises many kinds for a bad directory, and safetensors its own
        raise InputError(f"{source}: no model could be read ({first_line(error)})", remedy=_remedy(source)) from None
    reshaped = [
        f"{name} {tuple(found)} instead of {tuple(wanted)}"
        for name, found, wanted in sorted(info.get("mismatched_keys") or ())
    ]
    missing = set(info["missing_keys"]) - {name for name, *_ in info.get("mismatched_keys") or ()}
    check_keys(source, missing, _left_over(model, info["unexpected_keys"], part), reshaped)
    return model


def _left_over(model: Any, unexpected: set[str], part: bool) -> list[str]:
    """Return the unexpected keys that matter: old releases saved position ids, and a part lies inside a whole."""
    inside = {name for name, _ in model.named_children()}
    prefix = f"{model.base_model_prefix}."
    return [
        key
        for key in unexpected
        if not key.endswith("position_ids") and not (part and key.removeprefix(prefix).partition(".")[0] not in inside)
    ]


def check_keys(source: str, missing: Any, unexpected: Any, reshaped: Any) -> None:
    """Refuse weights that do not fit their model.

    Args:
        source: For the message.
        missing: Names that the model has and the weights lack.
        unexpected: Names that the weights have and the model lacks.
        reshaped: Descriptions of weights of another shape.

    Raises:
        InputError: Any of the three is not empty; the message counts each and names the first four.

    Example:
        >>> check_keys("a.pt", ["logit_scale"], [], [])
        Traceback (most recent call last):
        ...
        eotune.core.errors.InputError: a.pt: the weights do not fit the model: missing 1 (logit_scale); check ...
    """
    parts = [
        f"{label} {len(keys)} ({', '.join(sorted(keys)[:4])}{', ...' if len(keys) > 4 else ''})"
        for label, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if keys
    ]
    if parts:
        raise InputError(
            f"{source}: the weights do not fit the model: {'; '.join(parts)}",
            remedy="check that weights and architecture belong together",
        )


def recompute_activations(model: Any) -> None:
    """Switch a transformers model to gradient checkpointing, which its releases since 5.17 name in two ways."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own bars and reports off the terminal: what matters of them becomes an error of ours."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    loud = verbosity < logging.ERROR
    if loud:  # every change empties the caches of all loggers, which takes a millisecond
        logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if loud:
            logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_tokenizer(source: str, *, rows: int | None) -> Any:
    """Load the tokenizer beside a model.

    Args:
        source: A directory or a hub id.
        rows: Number of tokens that the model has a vector for; None where that is not known.

    Raises:
        InputError: There is none, or it is another model's.
    """
    from transformers import AutoTokenizer

    check_source(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # as above
        raise InputError(
            f"{source}: no tokenizer could be read ({first_line(error)})", remedy=_remedy(source)
        ) from None
    if tokenizer.pad_token is None:  # GPT's have none; behind the mask any token serves
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    check_vocabulary(source, tokenizer, rows)
    return tokenizer


def check_vocabulary(source: str, tokenizer: Any, rows: int | None) -> None:
    """Refuse a tokenizer that is empty or another model's.

    Args:
        source: For the message.
        tokenizer: Of transformers.
        rows: Number of tokens that the model has a vector for; None where that is not known.

    Raises:
        InputError: It has no words, or numbers one beyond the rows.
    """
    special = set(tokenizer.all_special_tokens)  # transformers adds some that a model may not know and never meets
    words = [number for token, number in tokenizer.get_vocab().items() if token not in special]
    if not words:  # where its files are missing, transformers 5 makes an empty one, to which every text is unknown
        raise InputError(f"{source}: no tokenizer could be read (it has no vocabulary)", remedy=_remedy(source))
    if rows is not None and max(words) >= rows:
        raise InputError(
            f"{source}: the tokenizer numbers words up to {max(words)}, but the model knows {rows} tokens",
            remedy="take the tokenizer that came with the model",
        )


def check_source(source: str) -> None:
    """Refuse what is neither a directory nor looks like a hub id.

    Raises:
        InputError: It is neither.
    """
    path = Path(source)
    if path.is_dir() or (source.count("/") <= 1 and not source.startswith((".", "/", "~")) and not path.exists()):
        return
    what = "is a file, not a directory" if path.is_file() else "no such directory"
    raise InputError(
        f"{source}: {what}", remedy="name a directory with config.json and safetensors, or a hub id like org/name"
    )


def find_file(source: str, name: str) -> Path | None:
    """Return the path of a file in a model's directory or, downloaded, in its hub repository; None if it has none."""
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    from transformers.utils import cached_file

    silent = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = cached_file(source, name, **silent)
    return Path(found) if found else None


def checked_size(size: int, patch: int, name: str) -> int:
    """Return ``size`` if the model's patches tile it.

    Raises:
        InputError: They do not; the message names the nearest sizes.
    """
    if size % patch == 0 and size > 0:
        return size
    below = max(patch, size // patch * patch)
    raise InputError(
        f"image_size {size} is not a multiple of {name}'s patch size {patch}", remedy=f"take {below} or {below + patch}"
    )


def first_line(error: Exception) -> str:
    """Return what an error says first, for a message of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = (lines[0] if lines else type(error).__name__)[:300]
    return line.encode(errors="backslashreplace").decode()  # a lone surrogate of a damaged file cannot be printed


def _remedy(source: str) -> str:
    if Path(source).is_dir():
        pickles = sorted(path.name for path in Path(source).iterdir() if path.suffix in {".bin", ".pt", ".pth"})
        if pickles and not any(Path(source).glob("*.safetensors")):
            return f"{pickles[0]} is not read, pickles can run code; save the model as safetensors (save_pretrained)"
        return "the directory needs config.json, model.safetensors and, for text, tokenizer files"
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return f"check the name and the network{offline}, or download it and name its directory"
