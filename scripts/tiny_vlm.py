"""Make a tiny vision-language model (LLaVA's layout) that `vlm:OUT` loads, and teach it to caption.

    python scripts/tiny_vlm.py CAPTIONS VISION OUT --words QUESTIONS/train.json

A pretrained ViT sees, and stays as it is, its positions interpolated to a smaller image; a projector and a small causal
language model of whole words start at random and learn the captions of the split `train`, and nothing else. The words
of the instruction files that `--words` names stand in the vocabulary; what captions do not say has no meaning yet, and
gets vectors drawn anew in the end, since training pushes all that is never said the same way.
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ViTModel,
)

from eotune.core.device import computes_bf16
from eotune.core.seeds import generator
from eotune.data.captions import CaptionSet, read_captions
from eotune.data.images import read_image
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder, load_vlm
from eotune.encoders.pretrained import read_model
from eotune.tasks.instruct_inputs import IGNORED, Lessons, collate_lessons

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}user: {% else %}assistant: {% endif %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<image>\n{% else %}{{ c.text }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SPECIAL = ("<pad>", "<unk>", "</s>", "<image>")
ASKED = ("Describe the image in one sentence.", "What does the image show?")


def tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words and signs, without case."""
    words = {
        word for text in [*texts, *ASKED, "user: assistant:"] for word in re.findall(r"\w+|[^\w\s]+", text.lower())
    }
    core = Tokenizer(
        models.WordLevel({one: at for at, one in enumerate([*SPECIAL, *sorted(words)])}, unk_token="<unk>")
    )
    core.normalizer, core.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", eos_token="</s>")
    made.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return made


def smaller(vision: ViTModel, size: int) -> ViTModel:
    """Return a ViT for images of ``size`` pixels: the positions of its patches interpolated, all else the same."""
    config = vision.config.__class__(**{**vision.config.to_dict(), "image_size": size, "dtype": "float32"})
    made = ViTModel(config, add_pooling_layer=False)
    state = vision.state_dict()
    place = "embeddings.position_embeddings"
    patches = torch.zeros(1, (size // config.patch_size) ** 2, config.hidden_size)
    with torch.no_grad():
        state[place] = vision.embeddings.interpolate_pos_encoding(
            torch.cat([state[place][:, :1], patches], 1), size, size
        )
    made.load_state_dict(state)
    return made


def fresh(
    vision: Path, texts: Sequence[str], size: int, seed: int
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Return the model, all but its vision tower random, and its processor."""
    sees = smaller(read_model(ViTModel, str(vision), part=True, add_pooling_layer=False), size)
    words = tokenizer(texts)
    language = {
        "model_type": "llama", "vocab_size": len(words), "hidden_size": 192, "intermediate_size": 512,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256,
        "pad_token_id": words.pad_token_id, "bos_token_id": None, "eos_token_id": words.eos_token_id,
        "tie_word_embeddings": True,
    }  # fmt: skip
    config = LlavaConfig(
        vision_config=sees.config, text_config=language, image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1, vision_feature_select_strategy="full", tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(sees.state_dict(), strict=False)  # LLaVA's has an idle pooler
    pixels = CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    processor = LlavaProcessor(
        pixels, words, patch_size=sees.config.patch_size, vision_feature_select_strategy="full",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    return model, processor


@torch.inference_mode()
def seen(encoder: VisionLanguageEncoder, captions: CaptionSet) -> Tensor:
    """Return what the vision tower sees of every image, ``(n, patches + 1, d)``."""
    found, paths = [], captions.paths()
    for start in range(0, len(paths), 64):
        images = [read_image(path) for path in paths[start : start + 64]]
        pixels = encoder.processor.image_processor(images, return_tensors="pt")["pixel_values"]
        found.append(encoder.model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1])
    return torch.cat(found)


def standardise(projector: Any, features: Tensor) -> None:
    """Let the projector's first layer take features as if their mean were 0 and their standard deviation 1."""
    mean, std = features.mean((0, 1)), features.std((0, 1))
    with torch.no_grad():
        projector.linear_1.weight /= std
        projector.linear_1.bias -= projector.linear_1.weight @ mean


def loss_of(model: LlavaForConditionalGeneration, batch: dict[str, Tensor], features: Tensor) -> tuple[Tensor, int]:
    """Return the mean of -log p over the tokens of answers, and their number; ``features`` are those of the images."""
    inner, ids, following = model.model, batch["input_ids"], batch["labels"][:, 1:]
    words = inner.language_model.embed_tokens(ids)
    projected = inner.multi_modal_projector(features).to(words.dtype)
    embeds = words.masked_scatter((ids == model.config.image_token_id)[..., None], projected)
    hidden = inner.language_model(
        inputs_embeds=embeds, attention_mask=batch["attention_mask"], use_cache=False
    ).last_hidden_state[:, :-1]
    taught = following != IGNORED
    return nn.functional.cross_entropy(model.lm_head(hidden[taught]).float(), following[taught]), int(taught.sum())


def draw_anew(model: LlavaForConditionalGeneration, known: Tensor, seed: int) -> None:
    """Give the words that are not among ``known`` ids random vectors, as long as those of the known are on average."""
    vectors = model.get_input_embeddings().weight
    unknown = torch.ones(len(vectors), dtype=torch.bool)
    unknown[known] = False
    drawn = torch.randn(int(unknown.sum()), vectors.shape[1], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        vectors[unknown] = drawn * vectors[~unknown].norm(dim=1).mean() / vectors.shape[1] ** 0.5


def teach(
    encoder: VisionLanguageEncoder, captions: CaptionSet, *, epochs: int, batch: int, rate: float, seed: int
) -> None:
    """Train projector and language model; each distinct caption of an image is seen once an epoch."""
    model = encoder.model
    features = seen(encoder, captions)
    print(f"{len(features):,} images seen", flush=True)
    standardise(model.model.multi_modal_projector, features)
    lessons, blank = Lessons(encoder, 128), np.zeros((8, 8, 3), np.uint8)
    pairs = [
        (at, lessons.lesson(blank, [(ASKED[number % len(ASKED)], text)]))
        for at, sample in enumerate(captions.samples)
        for number, text in enumerate(dict.fromkeys(sample.captions))
    ]
    for _, lesson in pairs:
        del lesson["pixel_values"]
    model.requires_grad_(True).train()
    model.model.vision_tower.requires_grad_(False)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    steps = epochs * (len(pairs) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.05, cycle_momentum=False
    )
    started, tokens, step = time.time(), 0, 0
    for epoch in range(epochs):
        order = generator("tiny-vlm", seed, epoch).permutation(len(pairs))
        losses = []
        for start in range(0, len(pairs) - batch + 1, batch):
            chosen = [pairs[int(at)] for at in order[start : start + batch]]
            rows = collate_lessons([lesson for _, lesson in chosen], encoder.prompts.pad_id)
            with torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16("cpu")):
                loss, count = loss_of(model, rows, features[[at for at, _ in chosen]])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            tokens, step = tokens + count, step + 1
            if step % 20 == 0:
                spent = time.time() - started
                print(
                    f"epoch {epoch + 1}/{epochs} step {step}/{steps} loss {np.mean(losses[-20:]):.3f} "
                    f"{tokens / spent:.0f} caption tokens/s, {spent:.0f} s",
                    flush=True,
                )
    draw_anew(model, torch.cat([lesson["input_ids"][0] for _, lesson in pairs]).unique(), seed)
    model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path, help="a caption file whose split train is learnt")
    parser.add_argument("vision", type=Path, help="folder of a ViT of transformers")
    parser.add_argument("out", type=Path)
    parser.add_argument("--words", type=Path, nargs="*", default=[], help="instruction files (conversations)")
    parser.add_argument("--image-size", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    captions = read_captions(arguments.captions, split="train")
    texts = [text for sample in captions.samples for text in sample.captions]
    texts += [
        turn["value"].replace("<image>", "")
        for path in arguments.words
        for record in json.loads(path.read_text(encoding="utf-8"))
        for turn in record["conversations"]
    ]
    model, processor = fresh(arguments.vision, texts, arguments.image_size, arguments.seed)
    encoder = VisionLanguageEncoder(model, processor)
    sizes = {
        part: sum(one.numel() for path in paths for one in encoder.get_submodule(path).parameters())
        for part, paths in encoder.parts.items()
    }
    print(", ".join(f"{part} {size:,}" for part, size in sizes.items()), "parameters", flush=True)
    teach(encoder, captions, epochs=arguments.epochs, batch=arguments.batch, rate=arguments.rate, seed=arguments.seed)
    model.save_pretrained(arguments.out)
    processor.save_pretrained(arguments.out)
    loaded = load_vlm(str(arguments.out))
    for sample, path in list(zip(captions.samples, captions.paths(), strict=True))[:: len(captions.samples) // 5]:
        print(f"{sample.id}: {loaded.generate([read_image(path)], [ASKED[0]])[0]}")


if __name__ == "__main__":
    main()
