"""The three parts of a vision-language model: what sees, what reads, and what carries from one to the other."""

from collections.abc import Iterator
from typing import Literal

from torch import nn

from eotune.core.errors import InputError

Part = Literal["vision", "projector", "language"]
_VISION = ("vision_tower", "vision_model", "visual", "vision_encoder", "image_tower")
_LANGUAGE = ("language_model", "text_model", "lm_head")
_PROJECTOR = "merger"  # Qwen-VL's stands inside its vision tower


def find_parts(model: nn.Module, path: str) -> dict[Part, tuple[str, ...]]:
    """Return the paths of each part's modules and lone parameters; together they hold every parameter once.

    Args:
        model: A transformers vision-language model, with its head.
        path: Its path, which the returned ones start with.

    Raises:
        InputError: It has no vision tower or no language model under the names that transformers gives them.
    """
    parts: dict[Part, list[str]] = {"vision": [], "projector": [], "language": []}
    for name, child in _members(model):
        # The inner model has no head; what is not inside it belongs to the language model.
        inner = [(f"{name}.{one}", part) for one, part in _members(child)] if name == "model" else [(name, child)]
        for where, module in inner:
            last = where.rpartition(".")[2]
            if last in _VISION:
                _divide(where, module, parts)
            else:
                parts["language" if last in _LANGUAGE or name != "model" else "projector"].append(where)
    if not parts["vision"] or not any(name.rpartition(".")[2] in _LANGUAGE[:2] for name in parts["language"]):
        raise InputError(
            f"{type(model).__name__} is not made of a vision tower and a language model",
            remedy="name a model such as LLaVA, SmolVLM, Qwen-VL, InternVL or PaliGemma",
        )
    return {part: tuple(f"{path}.{name}" for name in names) for part, names in parts.items()}


def _divide(where: str, vision: nn.Module, parts: dict[Part, list[str]]) -> None:
    if not any(_PROJECTOR in name for name, _ in _members(vision)):
        parts["vision"].append(where)
        return
    for name, _ in _members(vision):
        parts["projector" if _PROJECTOR in name else "vision"].append(f"{where}.{name}")


def _members(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield children that hold parameters, and parameters that belong to no child (as modules without any)."""
    for name, child in module.named_children():
        if next(child.parameters(), None) is not None:
            yield name, child
    for name, _ in module.named_parameters(recurse=False):
        yield name, nn.Identity()
