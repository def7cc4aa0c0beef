"""Translate open_clip state dicts (GeoRSCLIP, RemoteCLIP, SkyCLIP, ...) into transformers' CLIPModel, and back."""

import argparse
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.core.lookup import unknown_name
from eotune.encoders.pretrained import check_keys, first_line

Activation = Literal["gelu", "quick_gelu"]


@dataclass(frozen=True)
class Architecture:
    """Sizes of an open_clip ViT CLIP.

    Attributes:
        image_size: In pixels.
        patch: In pixels.
        image_width: Width of a vision token.
        image_layers: Depth of the vision tower.
        head_width: Width of a vision attention head.
        text_width: Width of a text token.
        text_layers: Depth of the text tower.
        text_heads: Attention heads of the text tower.
        dim: Of the shared space.
    """

    image_size: int
    patch: int
    image_width: int
    image_layers: int
    head_width: int
    text_width: int
    text_layers: int
    text_heads: int
    dim: int


ARCHITECTURES = {
    "ViT-B-32": Architecture(224, 32, 768, 12, 64, 512, 12, 8, 512),
    "ViT-B-16": Architecture(224, 16, 768, 12, 64, 512, 12, 8, 512),
    "ViT-L-14": Architecture(224, 14, 1024, 24, 64, 768, 12, 12, 768),
    "ViT-L-14-336": Architecture(336, 14, 1024, 24, 64, 768, 12, 12, 768),
    "ViT-H-14": Architecture(224, 14, 1280, 32, 80, 1024, 24, 16, 1024),
}

# Pixel statistics of OpenAI's CLIP, which open_clip's models keep (arXiv 2103.00020).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def architecture(name: str) -> tuple[Architecture, Activation]:
    """Return an architecture's sizes and activation; ``-quickgelu`` at the end of the name chooses QuickGELU.

    Raises:
        InputError: It is not known.

    Example:
        >>> architecture("ViT-B-32-quickgelu")[1]
        'quick_gelu'
    """
    base = name.removesuffix("-quickgelu")
    if base not in ARCHITECTURES:
        raise unknown_name("open_clip architecture", name, [*ARCHITECTURES, *(f"{n}-quickgelu" for n in ARCHITECTURES)])
    return ARCHITECTURES[base], "quick_gelu" if base != name else "gelu"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a ``.pt`` or safetensors checkpoint; nothing is unpickled beyond tensors and plain containers.

    Raises:
        InputError: It is missing, broken, or holds pickled code.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", remedy="name a .pt or .safetensors checkpoint")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            # Training scripts put their arguments beside the weights: a plain container, as dictionaries are.
            with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
                warnings.simplefilter("ignore")  # of pickle protocols, before it refuses them
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a broken or refused file
        refused = "Weights only load failed" in str(error)  # what follows there speaks to torch's own callers
        why = "it is damaged, or holds other objects" if refused else first_line(error)[:160]
        raise InputError(
            f"{path}: is no checkpoint of plain tensors ({why})",
            remedy="check that the file is complete"
            if path.suffix == ".safetensors"
            else "pickled objects are not loaded, they can run code; save the state dict alone, or as safetensors",
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path}: holds no state dict of tensors", remedy="save model.state_dict()")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def to_transformers(
    state: Mapping[str, Tensor],
    arch: Architecture,
    activation: Activation,
    *,
    source: str,
    end_of_text: int | None = None,
) -> Any:
    """Build a CLIPModel from an open_clip state dict, every key accounted for.

    Args:
        state: As open_clip names its parameters.
        arch: Sizes.
        activation: Of the MLPs; not visible in the weights, so it is always said explicitly.
        source: For messages.
        end_of_text: The token at which texts are pooled; None for the last entry of the vocabulary, as in CLIP's own.

    Returns:
        A ``transformers.CLIPModel`` in float32.

    Raises:
        InputError: Keys are missing or left over, or a shape differs; the message names them.
    """
    from transformers import CLIPModel

    renamed, unexpected = _renamed(state)
    vocabulary, context = _rows(state, "token_embedding.weight", 49408), _rows(state, "positional_embedding", 77)
    end = vocabulary - 1 if end_of_text is None else end_of_text
    with torch.device("meta"):
        model = CLIPModel(_config(arch, activation, vocabulary=vocabulary, context=context, end_of_text=end))
    wanted = {name: parameter.shape for name, parameter in model.named_parameters()}
    missing = set(wanted) - set(renamed)
    wrong = [
        f"{name} {tuple(renamed[name].shape)} instead of {tuple(shape)}"
        for name, shape in wanted.items()
        if name in renamed and renamed[name].shape != shape
    ]
    unexpected += set(renamed) - set(wanted)
    check_keys(source, missing, unexpected, wrong)
    model.to_empty(device="cpu")
    buffers = {
        name: torch.arange(buffer.shape[-1]).expand(buffer.shape).clone() for name, buffer in model.named_buffers()
    }
    model.load_state_dict({**{k: v.float() for k, v in renamed.items()}, **buffers}, strict=False, assign=True)
    for name, buffer in buffers.items():  # position ids are not saved, so load_state_dict leaves them out
        module, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(module), leaf, buffer)
    return model


def _rows(state: Mapping[str, Tensor], key: str, otherwise: int) -> int:
    return state[key].shape[0] if key in state else otherwise


def from_transformers(model: Any) -> dict[str, Tensor]:
    """Return a CLIPModel's weights under open_clip's names: the inverse of :func:`to_transformers`.

    Args:
        model: A ``transformers.CLIPModel``.

    Returns:
        New tensors on the CPU, each with memory of its own.

    Raises:
        InputError: A weight has no place in open_clip's model; the message names it.
    """
    names = {ours: theirs for theirs, ours in (_PLAIN | _TRANSPOSED).items()}
    inside = {ours: theirs for theirs, ours in _IN_BLOCK.items()}
    state: dict[str, Tensor] = {}
    packed: dict[str, dict[str, Tensor]] = {}
    unexpected = []
    for name, parameter in model.named_parameters():
        value = parameter.detach().cpu()
        block = _OUR_BLOCK.fullmatch(name)
        if name in names:
            state[names[name]] = value.T if names[name] in _TRANSPOSED else value
        elif block and block["stem"] in inside:
            state[f"{_their_block(block)}.{inside[block['stem']]}.{block['leaf']}"] = value
        elif block and block["stem"] in _PACKED:
            packed.setdefault(f"{_their_block(block)}.attn.in_proj_{block['leaf']}", {})[block["stem"]] = value
        else:
            unexpected.append(name)
    check_keys("this model has no open_clip form", (), unexpected, ())
    state |= {name: torch.cat([parts[stem] for stem in _PACKED]) for name, parts in packed.items()}
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()}


def _their_block(block: re.Match[str]) -> str:
    return f"{'visual.' if block['tower'] == 'vision' else ''}transformer.resblocks.{block['number']}"


def _config(arch: Architecture, activation: Activation, *, vocabulary: int, context: int, end_of_text: int) -> Any:
    from transformers import CLIPConfig

    return CLIPConfig(
        projection_dim=arch.dim,
        vision_config={
            "hidden_size": arch.image_width, "intermediate_size": 4 * arch.image_width,
            "num_hidden_layers": arch.image_layers, "num_attention_heads": arch.image_width // arch.head_width,
            "image_size": arch.image_size, "patch_size": arch.patch, "hidden_act": activation,
        },
        text_config={
            "hidden_size": arch.text_width, "intermediate_size": 4 * arch.text_width,
            "num_hidden_layers": arch.text_layers, "num_attention_heads": arch.text_heads,
            "vocab_size": vocabulary, "max_position_embeddings": context, "hidden_act": activation,
            "eos_token_id": end_of_text, "bos_token_id": vocabulary - 2, "pad_token_id": vocabulary - 1,
        },
    )  # fmt: skip


_PLAIN = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_IGNORED = {"attn_mask", "input_resolution", "context_length", "vocab_size"}  # buffers and sizes of OpenAI's archives
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")
_IN_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
_PACKED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")  # one matrix in open_clip
_OUR_BLOCK = re.compile(
    r"(?P<tower>vision|text)_model\.encoder\.layers\.(?P<number>\d+)\.(?P<stem>.+)\.(?P<leaf>weight|bias)"
)


def _renamed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state under transformers' names, and the keys that have none."""
    renamed: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for key, value in state.items():
        match = _BLOCK.fullmatch(key)
        if key in _PLAIN:
            renamed[_PLAIN[key]] = value.reshape(()) if key == "logit_scale" else value
        elif key in _TRANSPOSED:
            renamed[_TRANSPOSED[key]] = value.T.contiguous()
        elif match:
            tower = "vision_model" if match[1] else "text_model"
            inside = _block_keys(match[3], value)
            renamed |= {f"{tower}.encoder.layers.{match[2]}.{name}": part for name, part in inside.items()}
            unexpected += [] if inside else [key]
        elif key not in _IGNORED:
            unexpected.append(key)
    return renamed, unexpected


def _block_keys(name: str, value: Tensor) -> dict[str, Tensor]:
    if name in ("attn.in_proj_weight", "attn.in_proj_bias"):
        leaf = name.rpartition("_")[2]
        return {f"{part}.{leaf}": chunk.contiguous() for part, chunk in zip(_PACKED, value.chunk(3), strict=True)}
    stem, _, leaf = name.rpartition(".")
    return {f"{_IN_BLOCK[stem]}.{leaf}": value} if stem in _IN_BLOCK else {}
