"""Train the bundled `tiny` dual encoder on synthetic ground-level pictures and write it into the package.

    python scripts/train_tiny.py [--minutes 8]

It never sees an overhead scene; of overhead captions, only their words enter, as tokenizer vocabulary.
"""

import argparse
import re
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from ground_level import picture
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from eotune.data.scenes.words import TEMPLATES
from eotune.encoders.hf import HFDualEncoder, write_preprocessing
from eotune.encoders.preprocess import ImageTransform
from eotune.losses.contrastive import contrastive_loss, positives_from_ids
from eotune.metrics.retrieval import retrieval_metrics

TARGET = Path(__file__).parents[1] / "src" / "eotune" / "encoders" / "tiny_weights"


def tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the words of both renderers."""
    texts = [caption for seed in range(4000) for caption in picture(seed, size=8)[1]]
    texts += [re.sub(r"[][{}|:*]", " ", template) for group in TEMPLATES.values() for template in group] * 50
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1500, special_tokens=special, initial_alphabet=alphabet)
    )
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=40
    )


def fresh_encoder() -> HFDualEncoder:
    """Return the encoder with random weights."""
    words = tokenizer()
    torch.manual_seed(0)
    config = CLIPConfig(
        projection_dim=128,
        logit_scale_init_value=2.6592,
        vision_config={"hidden_size": 160, "intermediate_size": 640, "num_hidden_layers": 5, "num_attention_heads": 5,
                       "image_size": 64, "patch_size": 16, "hidden_act": "gelu"},
        text_config={"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
                     "vocab_size": len(words), "max_position_embeddings": 40, "hidden_act": "gelu",
                     "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    )  # fmt: skip
    return HFDualEncoder(CLIPModel(config), words, ImageTransform(64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--pictures", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=128)
    arguments = parser.parse_args()
    encoder = fresh_encoder()
    print(f"{sum(p.numel() for p in encoder.parameters()):,} parameters", flush=True)
    drawn = [picture(seed) for seed in range(arguments.pictures)]
    pixels = torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _ in drawn]))
    wording = sorted({caption for _, captions in drawn for caption in captions})
    number = {caption: index for index, caption in enumerate(wording)}
    tokens = encoder.tokenize(wording)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.1, fused=True)
    rng = np.random.default_rng(0)
    started, step = time.time(), 0
    while (share := (time.time() - started) / (60 * arguments.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 100) * 0.5 * (1 + np.cos(np.pi * share))
        chosen = rng.integers(len(drawn), size=arguments.batch)
        texts = torch.tensor([number[drawn[i][1][rng.integers(5)]] for i in chosen])
        batch = pixels[torch.from_numpy(chosen)]
        if rng.random() < 0.5:
            batch = batch.roll(int(rng.integers(-4, 5)), -2)
        mask = tokens["attention_mask"][texts]
        length = int(mask.sum(1).max())
        with torch.autocast("cpu", torch.bfloat16):
            output = encoder(batch, tokens["input_ids"][texts, :length], mask[:, :length])
        same = positives_from_ids(torch.from_numpy(chosen), texts)
        loss = contrastive_loss(output.image_embeddings, output.text_embeddings, output.logit_scale, positives=same)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 20 == 0:
            print(f"step {step} {time.time() - started:.0f} s loss {loss.item():.3f}", flush=True)
    held = [picture(10**6 + seed) for seed in range(200)]
    images = encoder.embed_images([image for image, _ in held])
    words = encoder.embed_texts([caption for _, captions in held for caption in captions])
    print("held-out ground level:", retrieval_metrics(images, words, np.repeat(np.arange(200), 5), bootstrap=0).values)
    save(encoder)


def save(encoder: HFDualEncoder) -> None:
    """Write half-precision weights into the package."""
    shutil.rmtree(TARGET, ignore_errors=True)
    encoder.half().model.save_pretrained(TARGET)
    encoder.tokenizer.save_pretrained(TARGET)
    write_preprocessing(encoder.transform, TARGET)
    print(f"{sum(file.stat().st_size for file in TARGET.iterdir()) / 2**20:.1f} MiB in {TARGET}")


if __name__ == "__main__":
    main()
