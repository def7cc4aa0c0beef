import json

import pytest
import torch
from transformers import CLIPTextModel, CLIPVisionModel, ViTForImageClassification, ViTMAEConfig, ViTMAEForPreTraining

from eotune.core.errors import InputError
from eotune.encoders.pretrained import read_config
from eotune.encoders.towers import (
    has_class_token,
    is_causal,
    pool_image,
    pool_text,
    read_text_tower,
    read_vision_tower,
    usual_image_pooling,
    usual_text_pooling,
)

PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Output:
    def __init__(self, states, pooled=None):
        self.last_hidden_state, self.pooler_output = states, pooled


@torch.inference_mode()
def test_one_side_of_a_dual_encoder_is_that_side(models):
    image, text = read_vision_tower(str(models["clip"])), read_text_tower(str(models["clip"]))
    ids = torch.tensor([[2, 5, 6, 3]])
    own = CLIPVisionModel.from_pretrained(models["clip"])(PIXELS).pooler_output
    torch.testing.assert_close(image(PIXELS).pooler_output, own)
    own = CLIPTextModel.from_pretrained(models["clip"])(ids).last_hidden_state
    torch.testing.assert_close(text(ids).last_hidden_state, own)


@torch.inference_mode()
def test_the_backbone_of_a_classifier_loses_only_its_head(models, tmp_path):
    model = ViTForImageClassification(read_config(str(models["vit"]))).eval()
    model.save_pretrained(tmp_path)
    expected = model.vit(PIXELS).last_hidden_state
    torch.testing.assert_close(read_vision_tower(str(tmp_path))(PIXELS).last_hidden_state, expected)


@torch.inference_mode()
def test_a_masked_autoencoder_gives_all_its_patches(tmp_path):
    """MAE's own class would drop three quarters of them at random."""
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    decoder = {"decoder_hidden_size": 16, "decoder_intermediate_size": 16, "decoder_num_hidden_layers": 1}
    config = ViTMAEConfig(**small, **decoder, decoder_num_attention_heads=2, image_size=32, patch_size=8)
    ViTMAEForPreTraining(config).save_pretrained(tmp_path)
    model = read_vision_tower(str(tmp_path)).eval()
    assert model(PIXELS).last_hidden_state.shape == (2, 17, 32)
    torch.testing.assert_close(model(PIXELS).last_hidden_state, model(PIXELS).last_hidden_state)


def test_poolings_follow_the_family(models):
    towers = {name: read_vision_tower(str(models[name])) for name in ("vit", "dinov2", "clip", "siglip")}
    assert [usual_image_pooling(tower) for tower in towers.values()] == ["cls", "cls", "pooler", "pooler"]
    assert [has_class_token(tower) for tower in towers.values()] == [True, True, True, False]
    texts = {name: read_text_tower(str(models[name])) for name in ("bert", "clip", "siglip")}
    assert [is_causal(tower) for tower in texts.values()] == [False, True, False]
    assert [usual_text_pooling(str(models[name]), tower) for name, tower in texts.items()] == ["mean", "last", "mean"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "word_embedding_dimension": 32}, "mean"),
        ({"pooling_mode_lasttoken": True, "include_prompt": False}, "last"),
        ({"pooling_mode": "mean", "include_prompt": True}, "mean"),
    ],
)
def test_a_sentence_encoders_own_pooling_counts(values, expected, tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(values))
    assert usual_text_pooling(str(tmp_path), None) == expected


@pytest.mark.parametrize(
    "values",
    [
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode_max_tokens": True},
        {"pooling_mode": ["mean", "cls"]},
        {},
        [],
    ],
)
def test_another_pooling_is_refused(values, tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="1_Pooling/config.json: pools in a way that is not read here; known are cls"):
        usual_text_pooling(str(tmp_path), None)


def test_images_are_pooled_over_patches_alone():
    states = torch.arange(10.0).reshape(1, 5, 2)  # a class token and four patches
    assert pool_image(Output(states), "cls", 4).tolist() == [[0.0, 1.0]]
    assert pool_image(Output(states), "mean", 4).tolist() == [[5.0, 6.0]]
    assert pool_image(Output(states), "mean", 5).tolist() == [[4.0, 5.0]]
    assert pool_image(Output(states, torch.ones(1, 2)), "pooler", 4).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_text_pooling_is_blind_to_padding(pooling):
    states = torch.randn(1, 3, 4)
    padded = torch.cat([states, torch.full((1, 2, 4), 1e6)], 1)
    expected = pool_text(states, torch.ones(1, 3, dtype=torch.long), pooling)
    torch.testing.assert_close(pool_text(padded, torch.tensor([[1, 1, 1, 0, 0]]), pooling), expected)
