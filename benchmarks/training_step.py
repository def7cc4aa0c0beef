"""A training step of every method at ViT-B/32 size: time and peak memory, each in a fresh process.

    python benchmarks/training_step.py [--methods lora,harma,full] [--precisions fp32,bf16] [--batch 32] [--steps 6]

CLIP ViT-B/32 with random weights, random images of 224 px and texts of 32 tokens, the method's own objective and
AdamW, through the trainer that `eotune run` uses. Prints each method's median step and peak memory (of the process, or
of the GPU where there is one), and their ratios to LoRA (r=8 on all linear layers) and to full fine-tuning. Methods
take turns, `--rounds` times, and the fastest round counts: a busy machine only ever adds time.
Targets: HarMA at most 1.15 of LoRA's time, and at most 0.75 of full fine-tuning's memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TOKENS = 32
TRIALS = {"lora": {"rank": 8}, "harma": {"bottleneck": 128}}  # the rest by their defaults


class RandomPairs(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Random images and texts, drawn once."""

    def __init__(self, batch: int) -> None:
        draw = torch.Generator().manual_seed(0)
        self.pixels = torch.randint(256, (batch, 3, 224, 224), dtype=torch.uint8, generator=draw)
        self.ids = torch.randint(1, 49000, (batch, TOKENS), generator=draw)
        self.ids[:, -1] = 49407  # CLIP pools where the highest id stands

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        return {"pixels": self.pixels[key[1]], "input_ids": self.ids[key[1]]}

    @staticmethod
    def collate(samples: list[dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Stack samples as PairDataset does."""
        inputs = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        rows = torch.arange(len(samples))
        return {
            "inputs": {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])},
            "targets": {"image_ids": rows, "text_ids": rows},
        }


def measure(method: str, precision: str, batch: int, steps: int) -> dict[str, float]:
    """Take steps in this process; return ``seconds`` a step (median) and ``memory`` (MiB, peak)."""
    from transformers import CLIPConfig, CLIPModel

    from eotune.encoders.hf import HFDualEncoder
    from eotune.encoders.preprocess import ImageTransform
    from eotune.methods.by_name import create
    from eotune.tasks.objective import DualObjective, ObjectiveConfig
    from eotune.training.config import TrainingConfig
    from eotune.training.fit import fit
    from eotune.training.trainer import Work

    torch.manual_seed(0)
    encoder = HFDualEncoder(CLIPModel(CLIPConfig()), None, ImageTransform(224))
    adaptation = create({"name": method, **TRIALS.get(method, {})})
    adaptation.apply(encoder, seed=0)
    objective = DualObjective(ObjectiveConfig.model_validate(adaptation.phases()[0].objective))
    work = Work(
        dataset=RandomPairs(batch),
        collate=RandomPairs.collate,
        loss=objective,
        evaluate=lambda: {"mR": 0.0},
        no_decay=frozenset(adaptation.no_decay(encoder)),
    )
    config = TrainingConfig.model_validate(
        {"batch_size": batch, "epochs": steps, "precision": precision, "learning_rate": 1e-6,
         "checkpoint_every": 10 * steps}
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        result = fit(encoder, work, config, directory=Path(folder), seed=0, log=lambda *_, **__: None, resume=False)
    return {"seconds": result.step_seconds, "memory": result.peak_memory_mb}


def in_fresh_process(method: str, precision: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", method, "--precisions", precision]
    command += ["--batch", str(options.batch), "--steps", str(options.steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{method} {precision}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="", help="comma-separated; every method but frozen when not given")
    parser.add_argument("--precisions", default="fp32,bf16")
    for name, default in (("batch", 32), ("steps", 6), ("rounds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.precisions, options.batch, options.steps)))
        return
    from eotune.methods.by_name import names

    methods = options.methods.split(",") if options.methods else [name for name in names() if name != "frozen"]
    print(f"CLIP ViT-B/32, batch {options.batch}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for precision in options.precisions.split(","):
        rounds: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
        for _ in range(options.rounds):
            for method in methods:
                rounds[method].append(in_fresh_process(method, precision, options))
        report(precision, {method: min(all_, key=lambda one: one["seconds"]) for method, all_ in rounds.items()})


def report(precision: str, best: dict[str, Any]) -> None:
    print(f"{precision:<14}{'step, s':>9}{'/ lora':>8}{'memory, MiB':>13}{'/ full':>8}")
    for method, row in best.items():
        time_ratio = f"{row['seconds'] / best['lora']['seconds']:.2f}" if "lora" in best else ""
        memory_ratio = f"{row['memory'] / best['full']['memory']:.2f}" if "full" in best else ""
        print(f"{method:<14}{row['seconds']:>9.3f}{time_ratio:>8}{row['memory']:>13.0f}{memory_ratio:>8}")


if __name__ == "__main__":
    main()
