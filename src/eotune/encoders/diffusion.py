"""Stable Diffusion's U-Net as an image encoder, through the diffusion extra (features as in arXiv 2306.03881, DIFT).

An image's latent is noised to a timestep t, ``x_t = sqrt(a_t) x + sqrt(1 - a_t) e``, and run once through the U-Net up
to one of its blocks, whose output is averaged over the image. That is repeated for several draws of e and averaged. The
prompt is always empty: a class name in it would tell the answer.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eotune.core.errors import InputError
from eotune.core.lookup import require, unknown_name
from eotune.encoders.base import Feature, ImageEncoder, Tower
from eotune.encoders.blocks import find_blocks
from eotune.encoders.preprocess import ImageTransform
from eotune.encoders.pretrained import check_keys, check_source, checked_size, first_line, quiet

_BLOCK = re.compile(r"(down|up)([0-9])")


@dataclass(frozen=True)
class DiffusionFeature:
    """Which feature is taken.

    Attributes:
        block: ``mid``, or ``down0``, ``down1``, ..., ``up0``, ``up1``, ... from the input on.
        timestep: t, from 0 (no noise to speak of) to 999.
        draws: How many draws of noise are averaged.
        seed: What they are drawn from: the same ones for every image.
    """

    block: str = "mid"
    timestep: int = 1
    draws: int = 8
    seed: int = 0


class DiffusionImageEncoder(ImageEncoder):
    """A latent diffusion model up to one block of its U-Net; what lies behind that block is dropped.

    Args:
        unet: A ``UNet2DConditionModel``.
        vae: An ``AutoencoderKL``; it stays frozen.
        empty_prompt: What the text encoder gives for the empty text, ``(1, t, width)``.
        signal: a_t of the noise schedule at the feature's timestep.
        feature: Which one.
    """

    empty_prompt: Tensor

    def __init__(self, unet: Any, vae: Any, empty_prompt: Tensor, signal: float, feature: DiffusionFeature) -> None:
        super().__init__()
        self.name = "diffusers"
        self.feature = feature
        self.signal = signal
        self.unet: Any = _cut(unet, feature.block)
        vae.decoder = vae.post_quant_conv = nn.Identity()
        self.vae: Any = vae
        self.register_buffer("empty_prompt", empty_prompt)
        self.dim = _width(self.unet, feature.block)
        self.transform = ImageTransform(int(unet.config.sample_size) * _reduction(vae), "shortest", "bicubic")
        self.backbones = {"": "unet"}
        self.towers = {"image": Tower("image", "unet", None, find_blocks(self.unet, "unet", causal=False))}

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """See :meth:`ImageEncoder.image_features`; the draws of noise are the same in every call."""
        with torch.no_grad():
            latents = self.vae.encode(pixel_values).latent_dist.mode() * self.vae.config.scaling_factor
        total: Tensor | float = 0.0
        for noise in self._noise(latents):
            noised = self.signal**0.5 * latents + (1 - self.signal) ** 0.5 * noise
            total = total + unet_states(self.unet, noised, self.feature, self.empty_prompt).mean((2, 3))
        return total / self.feature.draws  # type: ignore[return-value]

    def _noise(self, latents: Tensor) -> Tensor:
        """Return the draws, ``(draws, c, h, w)``: from the CPU's generator, so that they are equal on every device."""
        generator = torch.Generator().manual_seed(self.feature.seed)
        return torch.randn((self.feature.draws, *latents.shape[1:]), generator=generator).to(latents)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass."""
        self.unet.enable_gradient_checkpointing()

    def save(self, directory: Path) -> None:
        """Refuse: what lies behind the feature is gone.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{directory}: half a diffusion model is not written", remedy="save the adapter")

    def _settings(self) -> tuple[object, ...]:
        return (self.transform, self.feature, self.signal)


def unet_states(unet: Any, latents: Tensor, feature: DiffusionFeature, text: Tensor) -> Tensor:
    """Run a U-Net up to the feature's block; returns that block's output ``(n, c, h, w)``."""
    text = text.expand(len(latents), -1, -1)
    time = torch.full((len(latents),), feature.timestep, device=latents.device)
    embedded = unet.time_embedding(unet.time_proj(time).to(latents.dtype))
    states = unet.conv_in(latents)
    passed = (states,)
    for block in unet.down_blocks:
        states, added = block(hidden_states=states, temb=embedded, **_reads(block, text))
        passed += added
    if unet.mid_block is None:
        return states
    states = unet.mid_block(states, embedded, **_reads(unet.mid_block, text))
    for block in unet.up_blocks:
        count = len(block.resnets)
        passed, skipped = passed[:-count], passed[-count:]
        states = block(hidden_states=states, temb=embedded, res_hidden_states_tuple=skipped, **_reads(block, text))
    return states


def load_diffusion(
    source: str, *, image_size: int | None = None, feature: Feature | None = None
) -> DiffusionImageEncoder:
    """Load Stable Diffusion 1 or 2 as diffusers saves it.

    Args:
        source: ``ID_OR_DIR``, or ``ID_OR_DIR@block=mid,timestep=1,draws=8,seed=0`` with any of these, see
            :class:`DiffusionFeature`.
        image_size: Side of the square that the model sees; None takes the model's own.
        feature: ``mean`` (over the image) or None, which is the same.

    Raises:
        InputError: It cannot be read, is another kind of model, or a setting is wrong.
        MissingExtraError: diffusers is not installed.
    """
    path, wanted = _parsed(source)
    diffusers = require("diffusers", "diffusion")
    if feature not in (None, "mean"):
        raise InputError(f"diffusers:{source}: the model has no #{feature}", remedy="leave it out")
    check_source(path)
    unet = _read(diffusers.UNet2DConditionModel, path, "unet")
    _check_kind(unet, path)
    vae = _read(diffusers.AutoencoderKL, path, "vae")
    encoder = DiffusionImageEncoder(unet, vae, _empty_prompt(path), _signal(diffusers, path, wanted.timestep), wanted)
    if image_size not in (None, encoder.transform.size):
        step = _reduction(vae) * 2 ** (len(unet.config.block_out_channels) - 1)
        encoder.transform = encoder.transform.at(checked_size(image_size, step, path))
    return encoder.float()


def _parsed(source: str) -> tuple[str, DiffusionFeature]:
    path, mark, settings = source.rpartition("@")
    if not mark or "=" not in settings:
        return source, DiffusionFeature()
    known = vars(DiffusionFeature())
    values: dict[str, Any] = {}
    for setting in settings.split(","):
        key, _, value = setting.partition("=")
        if key not in known:
            raise unknown_name(f"setting in diffusers:{source}:", key, known)
        number = key != "block"
        if number and not (value.isascii() and value.isdigit()):
            raise InputError(f"diffusers:{source}: {key} {value!r} is no whole number", remedy="write for instance 1")
        values[key] = int(value) if number else value
    wanted = DiffusionFeature(**values)
    if wanted.block != "mid" and not _BLOCK.fullmatch(wanted.block):
        raise InputError(f"diffusers:{source}: unknown block {wanted.block!r}", remedy="write mid, or up1 or down1")
    if wanted.draws < 1:
        raise InputError(f"diffusers:{source}: no draws", remedy="write 1 or more")
    return path, wanted


def _read(kind: Any, source: str, part: str) -> Any:
    try:
        with quiet():
            model, info = kind.from_pretrained(
                source, subfolder=part, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
            )
    except Exception as error:  # diffusers raises many kinds
        raise InputError(
            f"{source}: its {part} could not be read ({first_line(error)})",
            remedy="name a directory or hub id with unet/, vae/, text_encoder/, tokenizer/ and scheduler/",
        ) from None
    check_keys(f"{source}/{part}", info["missing_keys"], info["unexpected_keys"], info.get("mismatched_keys") or ())
    return model.eval()


def _check_kind(unet: Any, source: str) -> None:
    config = unet.config
    others = ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim")
    if any(config.get(key) is not None for key in others) or config.in_channels != 4 or config.center_input_sample:
        raise InputError(
            f"{source}: its U-Net takes more than latents, time and text", remedy="name Stable Diffusion 1 or 2"
        )


@torch.no_grad()  # inference mode's tensors cannot enter a backward pass
def _empty_prompt(source: str) -> Tensor:
    """Return the text encoder's states of the empty text; the encoder is not kept."""
    from transformers import CLIPTextModel, CLIPTokenizer

    try:
        with quiet():
            tokenizer = CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
            model = CLIPTextModel.from_pretrained(source, subfolder="text_encoder", use_safetensors=True)
    except Exception as error:  # transformers raises many kinds
        raise InputError(
            f"{source}: its text encoder could not be read ({first_line(error)})",
            remedy="the directory needs tokenizer/ and text_encoder/",
        ) from None
    longest = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    tokens = tokenizer("", padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
    return model.eval()(tokens["input_ids"]).last_hidden_state.float()


def _signal(diffusers: Any, source: str, timestep: int) -> float:
    try:
        with quiet():
            schedule = diffusers.DDPMScheduler.from_pretrained(source, subfolder="scheduler").alphas_cumprod
    except Exception as error:  # as above
        raise InputError(
            f"{source}: its scheduler could not be read ({first_line(error)})", remedy="the directory needs scheduler/"
        ) from None
    if timestep >= len(schedule):
        raise InputError(
            f"diffusers:{source}: timestep {timestep} is behind the last", remedy=f"write 0 to {len(schedule) - 1}"
        )
    return float(schedule[timestep])


def _cut(unet: Any, block: str) -> Any:
    """Drop what lies behind a block, in place."""
    match = _BLOCK.fullmatch(block)
    downward = match is not None and match[1] == "down"
    there = unet.down_blocks if downward else unet.up_blocks
    number = -1 if match is None else int(match[2])
    if number >= len(there):
        raise InputError(f"the U-Net has no block {block!r}", remedy=f"it has {len(there)} on the way {block[:-1]}")
    kept_up = 0 if downward else number + 1
    unet.up_blocks = unet.up_blocks[:kept_up]
    unet.conv_norm_out = unet.conv_act = unet.conv_out = None
    if downward:
        unet.down_blocks, unet.mid_block = unet.down_blocks[: number + 1], None
    return unet


def _width(unet: Any, block: str) -> int:
    widths = list(unet.config.block_out_channels)
    if block == "mid":
        return int(widths[-1])
    number = int(block[-1])
    return int(widths[number] if block.startswith("down") else widths[::-1][number])


def _reduction(vae: Any) -> int:
    """Return how many pixels a latent is wide."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def _reads(block: Any, text: Tensor) -> dict[str, Tensor]:
    return {"encoder_hidden_states": text} if getattr(block, "has_cross_attention", False) else {}
