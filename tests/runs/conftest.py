import shutil

import pytest
import torch
from transformers import BertConfig, BertModel, SiglipConfig, SiglipModel, ViTConfig, ViTModel

from eotune import encoders
from eotune.data.scenes import write_dataset
from eotune.encoders.composed import ComposedConfig, ComposedDualEncoder
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.preprocess import ImageTransform
from eotune.methods.adapted import save_adapted
from eotune.methods.by_name import create
from eotune.runs.execute import execute
from eotune.runs.recipe import parse_recipe

SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="session")
def captions(tmp_path_factory):
    """A caption file with three splits of synthetic scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    return write_dataset(folder, {"train": 2, "validation": 1, "test": 1}, size=32)


@pytest.fixture
def recipe_values(captions):
    def build(method="harma", **training):
        data = {split: {"captions": str(captions), "split": split} for split in ("train", "validation", "test")}
        return {
            "name": "small",
            "task": {"name": "retrieval", **data},
            "encoder": "tiny",
            "method": {"name": method, **({"bottleneck": 32} if method == "harma" else {})},
            "training": {"epochs": 2, "batch_size": 16, "log_every": 1, "checkpoint_every": 2, **training},
        }

    return build


@pytest.fixture
def recipe(recipe_values):
    return lambda *arguments, **training: parse_recipe(recipe_values(*arguments, **training))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, captions):
    """A finished run of two steps; not to be changed."""
    data = {split: {"captions": str(captions), "split": split} for split in ("train", "validation", "test")}
    values = {"name": "small", "task": {"name": "retrieval", **data}, "encoder": "tiny", "method": {"name": "heads"}}
    out = tmp_path_factory.mktemp("finished") / "run"
    execute(parse_recipe({**values, "training": {"batch_size": 8, "max_steps": 2}}), out)
    return out


@pytest.fixture(scope="session")
def moved():
    """Apply a method to an encoder and move every trained weight off its start."""

    def move(encoder, method, **settings):
        applied = create({"name": method, **settings})
        applied.apply(encoder, seed=0)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in encoder.parameters():
                if parameter.requires_grad and parameter.ndim > 1:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        return applied

    return move


@pytest.fixture
def run_of(finished, moved, tmp_path):
    """Make the finished run one of another method and encoder, with every trained weight off its start."""

    def make(method, name="tiny", *, image_size=None, **settings):
        run = tmp_path / "run"
        shutil.copytree(finished, run, ignore=shutil.ignore_patterns("adapter"))
        encoder = encoders.load(name, image_size=image_size)
        save_adapted(run, moved(encoder, method, **settings), encoder)
        return run

    return make


@pytest.fixture
def composed(tmp_path):
    """The name of a small composed encoder with a tokenizer that knows words."""
    tokenizer = encoders.load("tiny").tokenizer
    torch.manual_seed(0)
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    vision = ViTModel(ViTConfig(hidden_size=24, image_size=32, patch_size=16, **SMALL, **none), add_pooling_layer=False)
    text = BertModel(
        BertConfig(hidden_size=16, vocab_size=len(tokenizer), max_position_embeddings=40, **SMALL, **none),
        add_pooling_layer=False,
    )
    (tmp_path / "composed").mkdir()
    config = ComposedConfig(image_size=48, embed_dim=8, max_tokens=20)
    ComposedDualEncoder(vision, text, tokenizer, config).save(tmp_path / "composed")
    return f"composed:{tmp_path / 'composed'}"


@pytest.fixture
def siglip(tmp_path):
    """The name of a small SigLIP, which reads its padding."""
    tokenizer = encoders.load("tiny").tokenizer
    text = {"hidden_size": 16, "vocab_size": len(tokenizer), "max_position_embeddings": 12, "projection_size": 24}
    vision = {"hidden_size": 24, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config={**SMALL, **text}, vision_config={**SMALL, **vision}))
    tokenizer.model_max_length = 12
    HFDualEncoder(model, tokenizer, ImageTransform(32, "squash", "bilinear")).save(tmp_path / "siglip")
    return f"hf:{tmp_path / 'siglip'}"
