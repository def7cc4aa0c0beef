"""Small random dual encoders: CLIP (pre-LN, causal text), and ViT with BERT (post-LN, bidirectional text)."""

import json

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel, ViTConfig, ViTModel

from eotune.encoders.base import Block, DualEncoder, Tower
from eotune.encoders.preprocess import ImageTransform


class SmallClip(DualEncoder):
    def __init__(self, config: CLIPConfig, path: str = "") -> None:
        super().__init__()
        self.model = CLIPModel.from_pretrained(path) if path else CLIPModel(config)
        self.name, self.dim, self.max_tokens = "hf:small", config.projection_dim, 12
        self.transform = ImageTransform(config.vision_config.image_size)
        self.backbones = {"": "model"}
        self.towers = {
            name: Tower(
                name,
                f"model.{tower}",
                f"model.{head}",
                tuple(
                    Block(
                        path := f"model.{tower}.encoder.layers.{i}",
                        f"{path}.self_attn",
                        f"{path}.mlp",
                        side.hidden_size,
                        causal=name == "text",
                    )
                    for i in range(side.num_hidden_layers)
                ),
            )
            for name, tower, head, side in (
                ("image", "vision_model", "visual_projection", config.vision_config),
                ("text", "text_model", "text_projection", config.text_config),
            )
        }

    @property
    def log_scale(self) -> nn.Parameter:
        return self.model.logit_scale

    def image_features(self, pixel_values):
        return self.model.get_image_features(pixel_values).pooler_output

    def text_features(self, input_ids, attention_mask):
        return self.model.get_text_features(input_ids, attention_mask=attention_mask).pooler_output


class SmallComposed(DualEncoder):
    def __init__(self, image_depth: int = 3, text_depth: int = 2) -> None:
        super().__init__()
        self.image_model = ViTModel(
            ViTConfig(
                hidden_size=24,
                num_hidden_layers=image_depth,
                num_attention_heads=2,
                intermediate_size=32,
                image_size=16,
                patch_size=8,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )
        self.text_model = BertModel(
            BertConfig(
                vocab_size=50,
                hidden_size=16,
                num_hidden_layers=text_depth,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=16,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )
        self.image_projection, self.text_projection = nn.Linear(24, 8), nn.Linear(16, 8, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.name, self.dim, self.max_tokens = "composed:small", 8, 12
        self.transform = ImageTransform(16)
        self.backbones = {"image": "image_model", "text": "text_model"}
        self.towers = {
            "image": Tower(
                "image",
                "image_model",
                "image_projection",
                tuple(
                    Block(path := f"image_model.layers.{i}", f"{path}.attention", f"{path}.mlp", 24, causal=False)
                    for i in range(image_depth)
                ),
            ),
            "text": Tower(
                "text",
                "text_model",
                "text_projection",
                tuple(
                    Block(
                        path := f"text_model.encoder.layer.{i}",
                        f"{path}.attention",
                        f"{path}.output.dense",
                        16,
                        causal=False,
                    )
                    for i in range(text_depth)
                ),
            ),
        }

    @property
    def log_scale(self) -> nn.Parameter:
        return self.scale

    def image_features(self, pixel_values):
        return self.image_projection(self.image_model(pixel_values).last_hidden_state[:, 0])

    def text_features(self, input_ids, attention_mask):
        states = self.text_model(input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask[..., None].to(states.dtype)
        return self.text_projection((states * weight).sum(1) / weight.sum(1))


def clip_config(*, width=(24, 16), depth=(3, 2), projection=8) -> CLIPConfig:
    shared = {"num_attention_heads": 2, "intermediate_size": 32}
    return CLIPConfig(
        vision_config={
            "hidden_size": width[0],
            "num_hidden_layers": depth[0],
            "image_size": 16,
            "patch_size": 8,
            **shared,
        },
        text_config={
            "hidden_size": width[1],
            "num_hidden_layers": depth[1],
            "vocab_size": 50,
            "eos_token_id": 49,
            "bos_token_id": 48,
            "pad_token_id": 0,
            "max_position_embeddings": 16,
            **shared,
        },
        projection_dim=projection,
    )


@pytest.fixture
def small_clip():
    torch.manual_seed(0)
    return SmallClip(clip_config())


@pytest.fixture
def small_composed():
    torch.manual_seed(0)
    return SmallComposed()


@pytest.fixture(params=["clip", "composed"])
def encoder(request, small_clip, small_composed):
    return {"clip": small_clip, "composed": small_composed}[request.param].eval()


@pytest.fixture
def pixels():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tokens():
    """Texts of 3 to 6 tokens, the last of them the end of text, padded to 7."""
    ids = torch.randint(1, 47, (4, 7), generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([3, 4, 5, 6])
    mask = (torch.arange(7) < lengths[:, None]).long()
    ids[torch.arange(4), lengths - 1] = 49
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.fixture
def make_clip():
    """Build CLIP models of other sizes; ``meta`` costs nothing, and counts are right."""

    def make(*, meta=False, config=None, **sizes):
        if not meta:
            torch.manual_seed(0)
            return SmallClip(config or clip_config(**sizes)).eval()
        with torch.device("meta"):
            model = SmallClip(config or clip_config(**sizes))
        model.fingerprint = lambda: "meta"
        return model

    return make


@pytest.fixture
def make_composed():
    def make(**sizes):
        torch.manual_seed(0)
        return SmallComposed(**sizes).eval()

    return make


@pytest.fixture
def vit_directory(tmp_path):
    """A small vision transformer on disk, as transformers saves it."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = ViTModel(ViTConfig(**sizes, image_size=16, patch_size=8), add_pooling_layer=False)
    model.save_pretrained(tmp_path / "vit")
    values = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(values))
    return tmp_path / "vit"


@pytest.fixture
def perturb():
    """Move every trained parameter off its start, so that adapters which begin at zero can be seen."""

    def move(model, size=0.3):
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for _, parameter in sorted(model.named_parameters()):
                if parameter.requires_grad:
                    parameter += size * torch.randn(parameter.shape, generator=generator)

    return move
