"""LoRA's layers as eotune trains them against peft's own: time of a step, in one process.

    python benchmarks/lora_layers.py [--rounds 7] [--precision fp32]

ViT-Ti/16 at 144 px (batch 64) and ViT-B/32 at 224 px (batch 32), random weights, rank 8 on every linear layer; one step
is a forward and a backward pass in training. Both kinds of layer are the same objects, whose class is exchanged between
rounds, so that weights and inputs are the same; processor time, median of the rounds after the first.
"""

import argparse
import statistics
import time

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from eotune.encoders.base import autocast
from eotune.methods.lora_linear import LoraLinear, speed_up

MODELS = {
    "ViT-Ti/16, 144 px, batch 64": (64, {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768,
                                         "image_size": 144, "patch_size": 16}),
    "ViT-B/32, 224 px, batch 32": (32, {"image_size": 224, "patch_size": 32}),
}  # fmt: skip


def make(settings: dict[str, int]) -> nn.Module:
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**settings, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    model.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False), model)
    speed_up(model)
    return model.train()


def step(model: nn.Module, pixels: Tensor, precision: str) -> tuple[float, list[Tensor]]:
    """Return seconds of processor time, and the gradients."""
    begin = time.process_time()
    with autocast(torch.device("cpu"), precision):
        features = model(pixels).last_hidden_state[:, 0]
    features.float().square().mean().backward()
    seconds = time.process_time() - begin
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    model.zero_grad()
    return seconds, gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    print(f"{options.precision}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, (batch, settings) in MODELS.items():
        model = make(settings)
        layers = [one for one in model.modules() if isinstance(one, LoraLinear)]
        pixels = torch.randn(batch, 3, settings["image_size"], settings["image_size"])
        seconds: dict[type, list[float]] = {Linear: [], LoraLinear: []}
        gradients = {}
        for _ in range(options.rounds):
            for kind in (Linear, LoraLinear):
                for layer in layers:
                    layer.__class__ = kind
                took, gradients[kind] = step(model, pixels, options.precision)
                seconds[kind].append(took)
        off = max(
            float((ours - theirs).norm() / theirs.norm())
            for ours, theirs in zip(gradients[LoraLinear], gradients[Linear], strict=True)
        )
        peft, ours = (statistics.median(seconds[kind][1:]) for kind in (Linear, LoraLinear))
        print(
            f"{name}: {len(layers)} layers; peft {peft:.2f} s, eotune {ours:.2f} s, {peft / ours:.2f} times faster; "
            f"gradients differ by at most {off:.0e} of their norm"
        )


if __name__ == "__main__":
    main()
