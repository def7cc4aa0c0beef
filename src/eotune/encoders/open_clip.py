"""open_clip models by name: checkpoint files without open_clip installed, its own tags through the interop extra."""

from pathlib import Path
from types import ModuleType
from typing import Any

from eotune.core.errors import InputError
from eotune.core.lookup import require, unknown_name
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.open_clip_weights import MEAN, STD, Activation, architecture, read_state_dict, to_transformers
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import checked_size, first_line, read_tokenizer

TOKENIZER = "openai/clip-vit-base-patch32"
_CHECKPOINTS = {".pt", ".pth", ".bin", ".safetensors"}


def load_open_clip(source: str, *, image_size: int | None = None) -> HFDualEncoder:
    """Load ``ARCH@FILE`` (converted here) or ``ARCH@TAG`` (fetched by open_clip, from the interop extra).

    Weights do not show their activation. For a FILE, ARCH decides: QuickGELU where it ends in ``-quickgelu``, else
    GELU; docs/encoders.md lists which released checkpoint needs which. For a TAG, open_clip knows, and so it does the
    preprocessing. The result is recorded as ``hidden_act`` in the model's configuration. A FILE's tokenizer is taken
    from tokenizer files beside it, else from the hub model openai/clip-vit-base-patch32.

    Args:
        source: As above.
        image_size: Side of the square that the model sees; None takes the model's own.

    Raises:
        InputError: The architecture or the tag is unknown, or the file is wrong.
        MissingExtraError: A tag is named and open_clip is not installed.
    """
    name, _, weights = source.partition("@")
    architecture(name)
    if not weights:
        raise InputError(f"open_clip:{source}", remedy="write open_clip:ARCH@FILE or open_clip:ARCH@TAG")
    path = Path(weights)
    if path.suffix in _CHECKPOINTS or path.exists():
        arch, activation = architecture(name)
        model = to_transformers(read_state_dict(path), arch, activation, source=source)
        transform = ImageTransform(arch.image_size, mean=MEAN, std=STD, centre="round")
        tokenizer = _tokenizer(path, rows=model.config.text_config.vocab_size)
        return _assemble(model, transform, tokenizer, image_size)
    return _load_tag(name, weights, require("open_clip", "interop"), image_size)


def _load_tag(name: str, tag: str, open_clip: ModuleType, image_size: int | None) -> HFDualEncoder:
    known = open_clip.get_pretrained_cfg(name, tag)
    if not known:
        raise unknown_name(f"tag of open_clip's {name}", tag, open_clip.list_pretrained_tags_by_model(name))
    arch, _ = architecture(name)
    activation: Activation = "quick_gelu" if known.get("quick_gelu") else "gelu"
    try:
        fetched = open_clip.create_model(name, pretrained=tag, force_quick_gelu=activation == "quick_gelu")
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"open_clip:{name}@{tag}: {first_line(error)}", remedy="check the network, or name a downloaded file"
        ) from None
    how = fetched.visual.preprocess_cfg
    transform = ImageTransform(
        arch.image_size, how["resize_mode"], how["interpolation"], how["mean"], how["std"], centre="round"
    )
    model = to_transformers(fetched.state_dict(), arch, activation, source=f"{name}@{tag}")
    return _assemble(model, transform, tokenizer_of(open_clip.get_tokenizer(name)), image_size)


def _assemble(model: Any, transform: ImageTransform, tokenizer: Any, image_size: int | None) -> HFDualEncoder:
    if image_size not in (None, transform.size):
        transform = transform.at(checked_size(image_size, model.config.vision_config.patch_size, "the model"))
    return HFDualEncoder(model, tokenizer, transform)


def tokenizer_of(simple: Any) -> Any:
    """Return transformers' form of open_clip's own tokenizer, from the vocabulary that it carries.

    Args:
        simple: An ``open_clip.tokenizer.SimpleTokenizer``.
    """
    from transformers import CLIPTokenizer

    renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {renamed.get(token, token): number for token, number in simple.encoder.items()}
    return CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks), model_max_length=simple.context_length)


def _tokenizer(path: Path, *, rows: int) -> Any:
    if (path.parent / "tokenizer.json").is_file() or (path.parent / "vocab.json").is_file():
        return read_tokenizer(str(path.parent), rows=rows)
    try:
        return read_tokenizer(TOKENIZER, rows=rows)
    except InputError:
        raise InputError(
            f"{path}: no tokenizer beside it, and {TOKENIZER} cannot be fetched",
            remedy=f"put tokenizer.json of {TOKENIZER} into {path.parent}",
        ) from None
