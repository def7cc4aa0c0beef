"""Vision-language models whose processors need torchvision, tiny and random: shared prefix against plain passes."""

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

from eotune.encoders.multimodal import load_pairs

pytest.importorskip("torchvision", reason="the extra interop is not installed")
pytestmark = pytest.mark.interop

TEXTS = ["a photo of many green trees", "many ships on water", "trees on green water and many more ships on the river"]
OTHERS = [["a photo of trees", "photo of many green"], ["ships on", "many water"], ["trees on", "green water ships"]]
SPECIAL = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
WORDS = ["<pad>", "<unk>", "<s>", "</s>", *sorted({word for text in TEXTS for word in text.split()})]
CHAT = (
    "{% for m in messages %}<s>{% for c in m.content %}{% if c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}</s>{% endfor %}"
)
LLM = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    "vocab_size": len(WORDS) + len(SPECIAL),
}  # fmt: skip
MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
SIGHT = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32, "num_heads": 2, "patch_size": 4}
IMAGE, VIDEO, START, END = range(len(WORDS), len(WORDS) + 4)
TOKENS = {
    "image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START, "vision_end_token_id": END
}  # fmt: skip


def tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    named = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    roles = ("context_image_token", "video_token", "start_image_token", "end_image_token")
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, extra_special_tokens=dict(zip(roles, SPECIAL, strict=True)), **named
    )
    assert made.convert_tokens_to_ids(SPECIAL) == [IMAGE, VIDEO, START, END]
    return made


def qwen(family):
    more = {"window_size": 16, "fullatt_block_indexes": [1]}
    if family == "Qwen3VL":
        more = {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    kind = {"Qwen2_5_VL": "Qwen2VL", "Qwen3VL": "Qwen3VL"}[family]
    config = getattr(transformers, f"{family}Config")(vision_config=SIGHT | more, text_config=LLM | MROPE, **TOKENS)
    images = transformers.Qwen2VLImageProcessor(patch_size=4, size={"shortest_edge": 64, "longest_edge": 1024})
    videos = getattr(transformers, f"{kind}VideoProcessor")(patch_size=4)
    processor = getattr(transformers, f"{family}Processor")(images, tokenizer(), videos)
    return config, processor, "<|vision_start|><|image_pad|><|vision_end|>"


def internvl(family):
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.InternVLConfig(
        vision_config=vision | {"image_size": [16, 16], "patch_size": [4, 4]},
        text_config=LLM | {"model_type": "qwen2"}, image_token_id=IMAGE, image_seq_length=4,
    )  # fmt: skip
    images = transformers.GotOcr2ImageProcessor(size={"height": 16, "width": 16}, min_patches=1, max_patches=3)
    processor = transformers.InternVLProcessor(
        images, tokenizer(), transformers.InternVLVideoProcessor(), image_seq_length=4
    )
    return config, processor, SPECIAL[0]


@pytest.mark.parametrize(("family", "built"), [("Qwen2_5_VL", qwen), ("Qwen3VL", qwen), ("InternVL", internvl)])
def test_shared_prefix_equals_plain_passes(family, built, tmp_path):
    config, processor, image = built(family)
    processor.chat_template = CHAT.replace("IMAGE", image)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    encoder = load_pairs(f"vlm:{tmp_path}")
    assert encoder.shares_prefix
    assert type(encoder.processor.image_processor).__name__.endswith("Pil")
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((64, 64), (40, 90), (30, 20))]
    plain = encoder.pair_vectors(scenes, TEXTS, batch_size=1)
    moved = [encoder.pair_vectors(scenes, [row[k] for row in OTHERS], batch_size=1) for k in (0, 1)]
    expected = np.linalg.norm(plain[:, None] - np.stack(moved, 1), axis=-1)
    np.testing.assert_allclose(encoder.perturbed_distances(scenes, TEXTS, OTHERS), expected, rtol=1e-3)
    elsewhere = encoder.perturbed_distances(scenes[::-1], TEXTS, OTHERS)[::2]
    assert (np.abs(elsewhere - expected[::2]) > 1e-3 * expected[::2]).all()
    answers = encoder.generate([*scenes[:2], None], ["many ships", "on the river", "trees"], max_new_tokens=3)
    again = [encoder.generate([one], [text], max_new_tokens=3)[0] for one, text in
             zip([*scenes[:2], None], ["many ships", "on the river", "trees"], strict=True)]  # fmt: skip
    assert answers == again
