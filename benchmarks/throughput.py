"""Training throughput from image files against the same model on tensors that are already in memory.

    python benchmarks/throughput.py [--images 400] [--batch 64] [--epochs 3] [--rounds 3]

Synthetic scenes of 256 px are written as PNG, then the same method is trained on them twice in this process: through
the input pipeline (decoding once; crop, flip and RandAugment of each image in each epoch), and on one fixed set
of tensors of the same shapes. The two take turns, medians count, and decoding is part of the time. Two models: `tiny`
(2.6 M parameters, the hard case: its step is short) and a ViT-Ti/16 at 144 px beside a text tower. Target: at least
0.9 for a model of real size.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from eotune.data.captions import read_captions
from eotune.data.scenes import write_dataset
from eotune.encoders import load
from eotune.encoders.base import DualEncoder
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.preprocess import ImageTransform
from eotune.methods import create
from eotune.tasks.image_training import ImageTraining
from eotune.tasks.retrieval import CaptionData, RetrievalConfig, RetrievalData
from eotune.training.config import TrainingConfig
from eotune.training.fit import fit
from eotune.training.trainer import Work


class InMemory(Dataset[dict[str, Any]]):
    """The samples of another data set, prepared once."""

    def __init__(self, source: Any) -> None:
        self.samples = [source[0, index] for index in range(len(source))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return self.samples[key[1]]


def vit_tiny() -> DualEncoder:
    """Return ViT-Ti/16 at 144 px and a text tower of 6 layers, with random weights and tiny's tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    vision = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
    text = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 1536}
    config = CLIPConfig(vision_config={**vision, "image_size": 144, "patch_size": 16}, text_config=text)
    return HFDualEncoder(CLIPModel(config), load("tiny").tokenizer, ImageTransform(144))


def seconds(work: Work, encoder: DualEncoder, training: TrainingConfig) -> float:
    """Return the wall-clock of a training, without what comes before the first step."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        fit(encoder, work, training, directory=Path(folder), seed=0, log=lambda *_, **__: None, resume=False)
        return time.perf_counter() - started


def compare(name: str, encoder: DualEncoder, captions: Path, options: argparse.Namespace) -> None:
    data = CaptionData(captions=captions, split="train")
    config = RetrievalConfig(train=data, validation=data, test=data, pairs="images")
    few = read_captions(captions, split="train").subset(range(8))
    splits = RetrievalData(read_captions(captions, split="train"), few, few)
    training = TrainingConfig.model_validate(
        {"batch_size": options.batch, "epochs": options.epochs, "learning_rate": 1e-6, "precision": options.precision,
         "checkpoint_every": 10**6}
    )  # fmt: skip
    method = create({"name": "lora", "rank": 8})
    method.apply(encoder, seed=0)
    phase, no_decay = method.phases()[0], frozenset(method.no_decay(encoder))

    def from_files() -> float:
        started = time.perf_counter()
        shared = ImageTraining(config, splits, encoder, training, 0)  # decodes
        decoding = time.perf_counter() - started
        return decoding + seconds(shared.work(phase, no_decay), encoder, training)

    shared = ImageTraining(config, splits, encoder, training, 0)
    whole = shared.work(phase, no_decay)
    memory = InMemory(shared.pairs)
    in_memory = Work(memory, whole.collate, whole.loss, whole.evaluate, whole.no_decay, whole.primary)
    times: dict[str, list[float]] = {"files": [], "memory": []}
    for _ in range(options.rounds):
        times["files"].append(from_files())
        times["memory"].append(seconds(in_memory, encoder, training))
    pairs = options.epochs * (len(splits.train) // options.batch) * options.batch
    rates = {kind: pairs / statistics.median(values) for kind, values in times.items()}
    ratio = statistics.median(m / f for m, f in zip(times["memory"], times["files"], strict=True))
    print(f"{name:>10}: files {rates['files']:7.1f}/s   memory {rates['memory']:7.1f}/s   ratio {ratio:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("images", 400), ("batch", 64), ("epochs", 3), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--models", default="tiny,vit-tiny")
    options = parser.parse_args()
    print(f"{options.images} images, batch {options.batch}, {options.epochs} epochs, {options.precision}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}; medians of {options.rounds}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        captions = write_dataset(Path(folder), {"train": max(1, options.images // 10)}, size=256)
        for name in options.models.split(","):
            compare(name, load("tiny") if name == "tiny" else vit_tiny(), captions, options)


if __name__ == "__main__":
    main()
