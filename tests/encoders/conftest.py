"""Small random models of each family, saved as transformers saves them; the folders are not to be changed."""

import shutil

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

WORDS = ["<pad>", "<unk>", "<s>", "</s>", "a", "photo", "of", "many", "red", "green", "trees", "ships", "on", "water"]
TEXTS = [
    "a photo of green trees",
    "ships",
    "many red ships on water",
    "a photo of many many many many red trees on water",
]
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = SMALL | {"vocab_size": len(WORDS), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


def save_tokenizer(folder, *, longest, ends=True):
    """Save a tokenizer of whole words; with ``ends``, texts stand between <s> and </s>."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    if ends:
        tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=longest,
        padding_side="right",
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
    ).save_pretrained(folder)


def varied(model):
    """Draw every parameter anew: what starts at zero or one would hide a mix-up."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def save_processor(folder, kind, **values):
    import transformers

    getattr(transformers, f"{kind}ImageProcessorPil")(**values).save_pretrained(folder)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder of each family: clip, siglip, naflex, vit, dinov2, bert."""
    root = tmp_path_factory.mktemp("models")
    vision = SMALL | {"image_size": 32, "patch_size": 8}
    clip = CLIPConfig(projection_dim=24, vision_config=vision, text_config=TEXT | {"max_position_embeddings": 10})
    siglip = SiglipConfig(
        vision_config=vision, text_config=TEXT | {"max_position_embeddings": 10, "projection_size": 32}
    )
    naflex = Siglip2Config(
        vision_config=SMALL | {"patch_size": 8, "num_patches": 16},
        text_config=TEXT | {"max_position_embeddings": 10, "projection_size": 32},
    )
    made = {
        "clip": CLIPModel(clip),
        "siglip": SiglipModel(siglip),
        "naflex": Siglip2Model(naflex),
        "vit": ViTModel(ViTConfig(**vision), add_pooling_layer=False),
        "dinov2": Dinov2Model(Dinov2Config(**{**vision, "patch_size": 4})),
        "bert": BertModel(
            BertConfig(**TEXT, max_position_embeddings=12, attention_probs_dropout_prob=0.0), add_pooling_layer=False
        ),
    }
    for name, model in made.items():
        varied(model).save_pretrained(root / name)
    for name in ("clip", "siglip", "naflex", "bert"):
        save_tokenizer(root / name, longest=12 if name == "bert" else 10)
    square = {"height": 32, "width": 32}
    save_processor(root / "clip", "CLIP", size={"shortest_edge": 32}, crop_size=square)
    save_processor(root / "siglip", "Siglip", size=square)
    save_processor(root / "naflex", "Siglip2", patch_size=8, max_num_patches=16)
    save_processor(root / "vit", "ViT", size=square)
    save_processor(root / "dinov2", "Bit", size={"shortest_edge": 36}, crop_size=square)
    return {name: root / name for name in made}


@pytest.fixture
def copy_of(models, tmp_path):
    """Copy a family's folder, to be changed by a test."""
    return lambda name: shutil.copytree(models[name], tmp_path / name)


@pytest.fixture(scope="session")
def images():
    """Five uint8 images: square, wide, tall, small, of the models' own size."""
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        for shape in ((64, 64), (40, 70), (71, 40), (20, 24), (32, 32))
    ]


@pytest.fixture(scope="session")
def texts():
    return TEXTS
