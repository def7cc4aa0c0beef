"""Small random encoders on disk, loaded as a user's would be.

CLIP (pre-LN, causal), ViT with BERT (post-LN), and as image encoders a ViT and CLIP's image side.
"""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTModel,
)

from eotune import encoders
from eotune.core.files import write_json

# The end is not number 2: transformers' CLIP takes that for a checkpoint from before it knew its end token.
WORDS = ["[PAD]", "[UNK]", "[START]", "[END]", *(f"word{i}" for i in range(40))]
PIXELS, PATCH = 16, 8
VIT_PREPROCESSING = {"image_processor_type": "ViTImageProcessor", "size": {"height": PIXELS, "width": PIXELS}}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def _write_tokenizer(directory, longest):
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[("[START]", 2), ("[END]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[START]",
        eos_token="[END]",
        model_max_length=longest,
    ).save_pretrained(directory)


@pytest.fixture(scope="session")
def clip_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("clip")
    shared = {"num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    CLIPModel(
        CLIPConfig(
            vision_config={
                "hidden_size": 24,
                "num_hidden_layers": 3,
                "image_size": PIXELS,
                "patch_size": PATCH,
                **shared,
            },
            text_config={
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "vocab_size": len(WORDS),
                "pad_token_id": 0,
                "bos_token_id": 2,
                "eos_token_id": 3,
                "max_position_embeddings": 16,
                **shared,
            },
            projection_dim=8,
        )
    ).save_pretrained(directory)
    _write_tokenizer(directory, 16)
    write_json(
        directory / "preprocessor_config.json",
        {
            "size": {"shortest_edge": PIXELS},
            "do_center_crop": True,
            "crop_size": {"height": PIXELS, "width": PIXELS},
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "resample": 3,
        },
    )
    return directory


@pytest.fixture(scope="session")
def composed_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("composed")
    torch.manual_seed(0)
    ViTModel(
        ViTConfig(
            hidden_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=PIXELS,
            patch_size=PATCH,
            **NO_DROPOUT,
        ),
        add_pooling_layer=False,
    ).save_pretrained(directory / "vision")
    BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            **NO_DROPOUT,
        ),
        add_pooling_layer=False,
    ).save_pretrained(directory / "text")
    _write_tokenizer(directory / "text", 16)
    image, text = nn.Linear(24, 8), nn.Linear(16, 8, bias=False)
    save_file(
        {
            "image_projection.weight": image.weight.detach(),
            "image_projection.bias": image.bias.detach(),
            "text_projection.weight": text.weight.detach(),
            "logit_scale": torch.tensor(2.0),
        },
        directory / "projection.safetensors",
    )
    write_json(directory / "config.json", {"image_size": PIXELS, "embed_dim": 8, "max_tokens": 12})
    return directory


@pytest.fixture(scope="session")
def pretrained(clip_directory, composed_directory):
    write_json(composed_directory / "vision" / "preprocessor_config.json", VIT_PREPROCESSING)
    families = {
        "clip": encoders.load(f"hf:{clip_directory}"),
        "composed": encoders.load(f"composed:{composed_directory}"),
        "vit": encoders.load_image(f"hf:{composed_directory}/vision"),
        "projected": encoders.load_image(f"hf:{clip_directory}#projected"),
    }
    return {name: pickle.dumps(encoder) for name, encoder in families.items()}


@pytest.fixture
def load(request, pretrained):
    """Return a function that gives a fresh encoder of the family in ``request.param``."""
    return lambda: pickle.loads(pretrained[request.param])


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (6, 3, PIXELS, PIXELS), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture
def texts():
    return [" ".join(f"word{(7 * i + 3 * j) % 40}" for j in range(1 + i)) for i in range(6)]
