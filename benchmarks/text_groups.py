"""A batch of captions in groups of like length against the whole batch padded to its longest, in one process.

    python benchmarks/text_groups.py [--batch 128] [--rounds 7]

A text tower of MiniLM-L6's size with random weights, a forward and a backward pass with gradients for all its weights;
lengths are drawn as those of RSICD's captions (median 13 tokens, one in a hundred above 24). Processor time, median of
the rounds after the first. On a CPU alone: a GPU takes one group.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from eotune.encoders.composed import ComposedConfig, ComposedDualEncoder


def make() -> ComposedDualEncoder:
    torch.manual_seed(0)
    text = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    image = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32)
    config = ComposedConfig(image_size=32, embed_dim=256)
    return ComposedDualEncoder(ViTModel(image), BertModel(text, add_pooling_layer=False), None, config).train()


def captions(batch: int, draw: torch.Generator) -> dict[str, Tensor]:
    """Return tokens of a batch, padded on the right."""
    lengths = torch.randn(batch, generator=draw).mul(0.27).add(2.56).exp().round().long().clamp(5, 60)
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    return {"input_ids": torch.randint(5, 30000, mask.shape, generator=draw) * mask, "attention_mask": mask}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    encoder, draw = make(), torch.Generator().manual_seed(0)
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    seconds: dict[str, list[float]] = {"padded": [], "groups": []}
    padding, off = [], 0.0
    for _ in range(options.rounds):
        tokens, features = captions(options.batch, draw), {}
        padding.append(1 - float(tokens["attention_mask"].float().mean()))
        for way, times in seconds.items():
            begin = time.process_time()
            found = encoder(pixels, **tokens).text_embeddings if way == "groups" else encoder.text_features(**tokens)
            found.square().mean().backward()
            times.append(time.process_time() - begin)
            features[way] = found.detach()
            encoder.zero_grad()
        off = max(off, float((features["groups"] - features["padded"]).norm() / features["padded"].norm()))
    whole, groups = (statistics.median(seconds[way][1:]) for way in ("padded", "groups"))
    print(
        f"{options.batch} captions, {statistics.mean(padding):.0%} padding, {torch.get_num_threads()} threads: "
        f"padded {whole:.2f} s, in groups {groups:.2f} s, {whole / groups:.2f} times faster; "
        f"vectors differ by at most {off:.0e} of their norm"
    )


if __name__ == "__main__":
    main()
