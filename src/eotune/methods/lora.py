"""LoRA: low-rank updates beside frozen linear layers, by peft (arXiv 2106.09685).

``W x + (alpha / r) B A x`` with ``A`` of shape ``(r, in)`` drawn at random and ``B`` of shape ``(out, r)`` zero at the
start. ``rslora`` scales by ``alpha / sqrt(r)`` (arXiv 2312.03732); ``dora`` learns the length of each row of
``W + (alpha / r) B A`` apart from its direction (arXiv 2402.09353).

Saved in peft's layout, so that ``PeftModel.from_pretrained(base, directory)`` reads it: into the directory itself where
one transformers model holds both towers, into ``image/`` and ``text/`` of a composed encoder. What else trained (the
logit scale, projection heads) stands beside it in adapter.safetensors.
"""

import tempfile
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import nn

from eotune.core.config import Config
from eotune.core.errors import InputError
from eotune.core.files import read_json, write_json
from eotune.core.lookup import nearest
from eotune.encoders.base import Encoder, TowerName
from eotune.encoders.multimodal_parts import Part
from eotune.methods import base
from eotune.methods.weights import check_fit, fill, read_weights, write_weights

PEFT_PREFIX = "base_model.model."  # where a PeftModel holds the model
PEFT_WEIGHTS = "adapter_model.safetensors"
PEFT_CONFIG = "adapter_config.json"
_TOWERS: tuple[tuple[TowerName, Part], ...] = (("image", "vision"), ("text", "language"))


Mode = Literal["frozen", "lora", "full"]


class PartModes(Config):
    """What becomes of each part of a vision-language model.

    Attributes:
        vision: What sees: ``frozen``, updated by ``lora``, or trained in ``full``.
        projector: What carries from sight to language, likewise.
        language: What reads and answers, likewise; ``lora`` leaves its embeddings and its output layer as they are.
    """

    vision: Mode = "frozen"
    projector: Mode = "lora"
    language: Mode = "lora"

    def in_mode(self, mode: Mode) -> list[Part]:
        """Return the parts of which this becomes."""
        parts: tuple[Part, ...] = ("vision", "projector", "language")
        return [part for part in parts if getattr(self, part) == mode]


class LoraConfig(base.InjectedConfig):
    """Settings of LoRA.

    Attributes:
        rank: Rank r of the updates.
        alpha: Their scale, before the division by the rank.
        dropout: On the input of the update, in training.
        targets: ``all-linear`` (in the blocks), ``attention`` (in their self-attention), or a list of layer names
            such as ``[q_proj, v_proj]``.
        towers: Which towers are adapted.
        dora: Learn the length of weight rows apart from their direction.
        rslora: Scale by ``alpha / sqrt(rank)``.
        parts: What becomes of each part of a vision-language model, instead of ``towers``.
    """

    name: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = "all-linear"
    towers: Literal["both", "image", "text"] = "both"
    dora: bool = False
    rslora: bool = False
    parts: PartModes | None = None

    @field_validator("targets", mode="before")
    @classmethod
    def _targets_are_known(cls, value: object) -> object:
        named = isinstance(value, list | tuple) and value and all(isinstance(one, str) and one for one in value)
        if value in ("all-linear", "attention") or named:
            return tuple(value) if isinstance(value, list) else value
        raise ValueError("must be 'all-linear', 'attention', or a list of layer names")


class Method(base.Method):
    """Puts a low-rank update beside the chosen linear layers of every backbone."""

    Config = LoraConfig
    config: LoraConfig

    def _inject(self, encoder: Encoder, seed: int, /) -> set[str]:
        import peft

        from eotune.methods.lora_linear import speed_up

        targets = _target_paths(encoder, self.config)
        kept = {id(parameter) for parameter in encoder.parameters()}
        for name, path in encoder.backbones.items():
            inside = [target.removeprefix(path + ".") for target in targets if target.startswith(path + ".")]
            if not inside:
                continue
            backbone = encoder.get_submodule(path)
            settings = peft.LoraConfig(
                r=self.config.rank,
                lora_alpha=self.config.alpha,
                lora_dropout=self.config.dropout,
                target_modules=inside,
                use_dora=self.config.dora,
                use_rslora=self.config.rslora,
                base_model_name_or_path=getattr(backbone, "name_or_path", "") or None,
            )
            with base.seeded(seed, "lora", name):
                peft.inject_adapter_in_model(settings, backbone)
            speed_up(backbone)
            backbone.train(backbone.training)  # peft's layers begin in training, whatever the model is in
        trained = base.names_of(encoder, [one for one in encoder.parameters() if id(one) not in kept])
        trained |= _full_parts(encoder, self.config)
        if not trained:
            raise InputError(f"encoder {encoder.name!r} has no linear layer for LoRA", remedy="choose other targets")
        return trained | base.trained_along(encoder, self.config)

    def save(self, encoder: Encoder, directory: Path) -> None:
        """Write peft's files and, for what else trained, adapter.safetensors."""
        for name, backbone in _adapted_backbones(encoder).items():
            folder = directory / name
            weights = {PEFT_PREFIX + key: tensor for key, tensor in _lora_state(backbone).items()}
            write_weights(folder / PEFT_WEIGHTS, weights)
            with tempfile.TemporaryDirectory() as scratch:
                backbone.peft_config["default"].save_pretrained(scratch)
                values = read_json(Path(scratch) / PEFT_CONFIG)
            values["target_modules"] = sorted(values["target_modules"])  # a set, whose order changes by the process
            write_json(folder / PEFT_CONFIG, values)
        write_weights(directory / base.WEIGHTS, self._others(encoder))

    def load(self, encoder: Encoder, directory: Path) -> None:
        """Read what :meth:`save` wrote into ``encoder``, to which the method has been applied.

        Raises:
            InputError: A file is missing, is a pickle or broken, or holds other parameters.
        """
        from peft import set_peft_model_state_dict

        for name, backbone in _adapted_backbones(encoder).items():
            source = directory / name / PEFT_WEIGHTS
            weights = {key.removeprefix(PEFT_PREFIX): tensor for key, tensor in read_weights(source).items()}
            check_fit({key: tensor.shape for key, tensor in _lora_state(backbone).items()}, weights, source)
            set_peft_model_state_dict(backbone, weights)
        source = directory / base.WEIGHTS
        fill(self._others(encoder), read_weights(source), source)

    def _others(self, encoder: Encoder) -> dict[str, nn.Parameter]:
        """Return the trained parameters that are not peft's."""
        return {name: one for name, one in base.trained_parameters(encoder).items() if ".lora_" not in name}

    def _merge(self, encoder: Encoder) -> bool:
        from peft.tuners.lora import LoraLayer

        for backbone in _adapted_backbones(encoder).values():
            layers = [(path, module) for path, module in backbone.named_modules() if isinstance(module, LoraLayer)]
            for path, layer in layers:
                layer.merge(safe_merge=True)
                backbone.set_submodule(path, layer.get_base_layer())
            del backbone.peft_config
        return True


def _adapted_backbones(encoder: Encoder) -> dict[str, Any]:
    """Return the transformers models that peft has been in, by their name among the encoder's backbones."""
    modules = {name: encoder.get_submodule(path) for name, path in encoder.backbones.items()}
    return {name: module for name, module in modules.items() if hasattr(module, "peft_config")}


def _lora_state(backbone: nn.Module) -> dict[str, torch.Tensor]:
    """Return a backbone's LoRA weights under peft's names, without its prefix."""
    from peft import get_peft_model_state_dict

    # Its default looks the base model up on the hub, to see whether the vocabulary grew.
    return get_peft_model_state_dict(backbone, save_embedding_layers=False)


def _full_parts(encoder: Encoder, config: LoraConfig) -> set[str]:
    """Return the parameters of the parts that train in full; shared ones once."""
    if config.parts is None:
        return set()
    if encoder.parts is None:
        raise InputError(
            f"method.parts: encoder {encoder.name!r} is no vision-language model", remedy="choose method.towers"
        )
    paths = [path for part in config.parts.in_mode("full") for path in encoder.parts[part]]
    return {name for path in paths for name in base.parameters_under(encoder, path)}


def _roots(encoder: Encoder, config: LoraConfig) -> list[str]:
    """Return the paths of the modules whose linear layers may be adapted: blocks, and a projector as a whole."""
    if config.parts is None or encoder.parts is None:
        towers, others = base.chosen_towers(encoder, config.towers), []
    else:
        parts = config.parts.in_mode("lora")
        towers = [encoder.towers[name] for name, part in _TOWERS if part in parts]
        others = list(encoder.parts["projector"]) if "projector" in parts and config.targets != "attention" else []
    blocks = [block for tower in towers for block in tower.blocks]
    return [block.attention if config.targets == "attention" else block.path for block in blocks] + others


def _target_paths(encoder: Encoder, config: LoraConfig) -> list[str]:
    """Return the paths of the linear layers to adapt.

    Raises:
        InputError: A layer that ``targets`` names is in no block.
    """
    roots = _roots(encoder, config)
    linear = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and any(f"{name}.".startswith(f"{root}.") for root in roots)
    ]
    if isinstance(config.targets, str):
        return linear
    known = {name.rpartition(".")[2] for name in linear}
    for target in config.targets:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            near = nearest(target, known)
            raise InputError(
                f"method.targets: no linear layer {target!r} in the blocks of {encoder.name!r}",
                remedy=f"{f'did you mean {near!r}? ' if near else ''}Known: {', '.join(sorted(known))}",
            )
    return [name for name in linear if any(f".{name}".endswith(f".{target}") for target in config.targets)]
