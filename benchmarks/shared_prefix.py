"""Perturbation scores from a shared prefix against two plain passes of the same vision-language model.

    python benchmarks/shared_prefix.py [--pairs 8] [--batch 4] [--rounds 3] [--precision fp32] [--device cpu]

A LLaVA-1.5 of 100 M random parameters reads 576 image tokens and 40 text tokens; of each text two random tokens are
deleted. Plain is what a script would do: the pair and the perturbed pair, each in one pass. The two take turns on the
same batches, medians count, on a CPU of the process's own time. The token counts allow `2 L / (L + tail)`, where
L = 616 and the tail is what follows the first deleted token. Targets: 0.9 of that, and 1.8 times, at scores that
differ by less than 1e-3 in fp32.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from eotune.encoders.multimodal_inputs import PairInput
from eotune.encoders.shared_prefix import shared_prefix_vectors, text_vectors

IMAGE_TOKENS, TEXT_TOKENS, DELETED, PLACEHOLDER = 576, 40, 2, 3
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def random_model() -> Any:
    """Return a LLaVA-1.5 without its head: ViT-S/14 at 336 px and a Llama of 8 layers of width 768."""
    from transformers import LlavaConfig, LlavaModel

    vision = {
        "model_type": "clip_vision_model", "image_size": 336, "patch_size": 14, "hidden_size": 384,
        "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6,
    }  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": 24_000, "hidden_size": 768, "intermediate_size": 2048,
        "num_hidden_layers": 8, "num_attention_heads": 12, "num_key_value_heads": 12,
    }  # fmt: skip
    torch.manual_seed(0)
    return LlavaModel(LlavaConfig(vision_config=vision, text_config=text, image_token_index=PLACEHOLDER)).eval()


def random_pairs(count: int) -> tuple[list[PairInput], list[list[PairInput]]]:
    """Return pairs, and of each one the text without two tokens."""
    rng = np.random.default_rng(0)
    pairs, others = [], []
    for _ in range(count):
        text = rng.integers(4, 24_000, TEXT_TOKENS)
        ids = torch.tensor([[*[PLACEHOLDER] * IMAGE_TOKENS, *text.tolist()]])
        pixels = torch.from_numpy(rng.standard_normal((1, 3, 336, 336), np.float32))
        tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
        pairs.append(PairInput(tensors, IMAGE_TOKENS))
        fewer = np.delete(text, rng.choice(TEXT_TOKENS, DELETED, replace=False)).tolist()
        others.append([pairs[-1].with_tail(IMAGE_TOKENS, fewer, IMAGE_TOKENS)])
    return pairs, others


def tails(pairs: list[PairInput], others: list[list[PairInput]]) -> list[int]:
    """Return how many tokens follow each common prefix."""
    return [
        len(row[0]) - next(i for i, (a, b) in enumerate(zip(one.ids, row[0].ids, strict=False)) if a != b)
        for one, row in zip(pairs, others, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("pairs", 8), ("batch", 4), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--precision", default="fp32", choices=DTYPES)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    model = random_model().to(options.device, DTYPES[options.precision])
    pairs, others = random_pairs(options.pairs)
    batches = [slice(start, start + options.batch) for start in range(0, options.pairs, options.batch)]

    def plain(part: slice) -> torch.Tensor:
        moved = text_vectors(model, [row[0] for row in others[part]], "mean")
        return (text_vectors(model, pairs[part], "mean") - moved).norm(dim=1)

    def shared(part: slice) -> torch.Tensor:
        found = shared_prefix_vectors(model, pairs[part], others[part], "mean")
        if found is None:
            raise SystemExit("the model's cache does not keep every token")
        return (found[0] - found[1][:, 0]).norm(dim=1)

    # What else runs on the machine would count in wall-clock time; of a GPU there is no other.
    clock = time.process_time if options.device == "cpu" else time.perf_counter

    def timed(score: Callable[[slice], torch.Tensor]) -> tuple[float, torch.Tensor]:
        started = clock()
        scores = torch.cat([score(part) for part in batches]).cpu()  # waits for the device
        return clock() - started, scores

    timed(plain), timed(shared)  # both warm
    rounds = [(timed(plain), timed(shared)) for _ in range(options.rounds)]
    (_, expected), (_, scores) = rounds[0]
    seconds = [statistics.median(one[kind][0] for one in rounds) for kind in (0, 1)]
    ratio = statistics.median(one[0][0] / one[1][0] for one in rounds)
    length = IMAGE_TOKENS + TEXT_TOKENS
    allowed = (2 * length - DELETED) / (length + statistics.mean(tails(pairs, others)))
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{size:.0f} M parameters, {options.pairs} pairs, batch {options.batch}, {options.precision}, "
          f"{options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"medians of {options.rounds}")  # fmt: skip
    print(f"plain {options.pairs / seconds[0]:.3f} pairs/s   shared {options.pairs / seconds[1]:.3f} pairs/s   "
          f"ratio {ratio:.3f}   allowed by token counts {allowed:.3f}   reached {ratio / allowed:.3f}")  # fmt: skip
    print(f"scores differ by at most {float(((scores - expected).abs() / expected).max()):.1e} (relative)")


if __name__ == "__main__":
    main()
