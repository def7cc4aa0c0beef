import copy

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import CLIPModel, ViTModel

from eotune.core.errors import InputError
from eotune.core.files import read_json
from eotune.encoders import load_image
from eotune.methods import create, method_problems

# peft 0.21 still asks transformers for a property by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def lora(encoder, **settings):
    method = create({"name": "lora", **settings})
    method.apply(encoder, seed=0)
    return method


def adapted(encoder):
    return {name.removesuffix(".lora_A") for name, _ in encoder.named_modules() if name.endswith(".lora_A")}


def test_all_linear_layers_in_blocks_by_default(encoder):
    blocks = tuple(block.path + "." for tower in encoder.towers.values() for block in tower.blocks)
    linear = {name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}
    lora(encoder)
    assert adapted(encoder) == {name for name in linear if name.startswith(blocks)}
    assert len(adapted(encoder)) == 6 * 5


def test_attention_alone(encoder):
    lora(encoder, targets="attention")
    assert len(adapted(encoder)) == 4 * 5


def test_named_layers(small_clip):
    lora(small_clip, targets=["q_proj", "mlp.fc1"], towers="text")
    assert adapted(small_clip) == {
        f"model.text_model.encoder.layers.{i}.{name}" for i in range(2) for name in ("self_attn.q_proj", "mlp.fc1")
    }


def test_an_unknown_layer_gets_the_nearest(small_clip):
    with pytest.raises(InputError, match="no linear layer 'q_prj' in the blocks of 'hf:small'; did you mean 'q_proj'"):
        lora(small_clip, targets=["v_proj", "q_prj"])


@pytest.mark.parametrize("targets", ["all", [], [""], 3])
def test_targets_of_another_kind_are_refused(targets):
    problems = method_problems({"name": "lora", "targets": targets})
    assert len(problems) == 1
    assert "'method.targets': must be 'all-linear', 'attention', or a list of layer names" in problems[0]


@pytest.mark.parametrize(
    ("settings", "scale"), [({"rank": 4, "alpha": 8}, 2.0), ({"rank": 4, "alpha": 8, "rslora": True}, 4.0)]
)
def test_update_follows_the_equation(small_clip, perturb, settings, scale):
    layer = "model.text_model.encoder.layers.0.mlp.fc1"
    weight, bias = (one.clone() for one in small_clip.get_submodule(layer).parameters())
    lora(small_clip, **settings)
    perturb(small_clip)
    down, up = (small_clip.get_parameter(f"{layer}.lora_{one}.default.weight") for one in "AB")
    x = torch.randn(3, weight.shape[1])
    expected = x @ weight.T + bias + scale * (x @ down.T) @ up.T
    torch.testing.assert_close(small_clip.get_submodule(layer)(x), expected)


def test_dora_learns_lengths(small_clip):
    lora(small_clip, dora=True, targets=["q_proj"])
    lengths = [one for name, one in small_clip.named_parameters() if "magnitude" in name]
    assert len(lengths) == 5
    assert all(one.requires_grad for one in lengths)


def test_dropout_acts_in_training_only(small_clip, pixels, perturb):
    lora(small_clip.eval(), dropout=0.5)
    perturb(small_clip)
    assert torch.equal(small_clip.image_features(pixels), small_clip.image_features(pixels))
    small_clip.train()
    assert not torch.equal(small_clip.image_features(pixels), small_clip.image_features(pixels))


def test_weights_depend_on_the_seed(make_clip):
    name = "model.text_model.encoder.layers.0.mlp.fc1.lora_A.default.weight"
    encoders = [make_clip() for _ in range(3)]
    for encoder, seed in zip(encoders, (0, 0, 1), strict=True):
        create({"name": "lora"}).apply(encoder, seed=seed)
    first, same, other = (encoder.get_parameter(name) for encoder in encoders)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("training", [True, False])
def test_layers_train_where_the_encoder_does(small_clip, training):
    small_clip.train(training)
    lora(small_clip, dropout=0.5)
    assert {module.training for module in small_clip.modules()} == {training}


@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"rslora": True, "targets": "attention"}, {"towers": "text"}])
def test_clip_loads_with_peft_alone(small_clip, tmp_path, pixels, tokens, perturb, settings):
    small_clip.model.save_pretrained(tmp_path / "base")
    method = lora(small_clip, **settings)
    perturb(small_clip)
    method.save(small_clip, tmp_path / "adapter")
    small_clip.eval()
    alone = PeftModel.from_pretrained(CLIPModel.from_pretrained(tmp_path / "base"), tmp_path / "adapter").eval()
    images = alone.get_image_features(pixels).pooler_output
    texts = alone.get_text_features(**tokens).pooler_output
    assert torch.equal(images, small_clip.image_features(pixels))
    assert torch.equal(texts, small_clip.text_features(**tokens))


@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"targets": ["q_proj", "v_proj"]}])
def test_a_vision_transformer_loads_with_peft_alone(vit_directory, tmp_path, pixels, perturb, settings):
    encoder = load_image(f"hf:{vit_directory}")
    before = encoder.image_features(pixels)
    method = lora(encoder, **settings)
    perturb(encoder)
    method.save(encoder, tmp_path / "adapter")
    plain = ViTModel.from_pretrained(vit_directory, add_pooling_layer=False)
    alone = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    assert torch.equal(alone(pixels).last_hidden_state[:, 0], encoder.image_features(pixels))
    assert not torch.allclose(before, encoder.image_features(pixels))


def test_composed_encoder_saves_an_adapter_a_backbone(small_composed, make_composed, tmp_path, pixels, perturb):
    method = lora(small_composed, heads=True)
    perturb(small_composed)
    method.save(small_composed, tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "adapter.safetensors",
        "image/adapter_config.json",
        "image/adapter_model.safetensors",
        "text/adapter_config.json",
        "text/adapter_model.safetensors",
    ]
    targets = read_json(tmp_path / "image/adapter_config.json")["target_modules"]
    assert targets == sorted(targets)  # the same bytes in every process
    assert len(targets) > 3
    alone = PeftModel.from_pretrained(make_composed().image_model, tmp_path / "image").eval()
    assert torch.equal(alone(pixels).last_hidden_state, small_composed.image_model(pixels).last_hidden_state)


def test_one_tower_leaves_the_other_backbone_alone(small_composed, tmp_path):
    method = lora(small_composed, towers="image")
    method.save(small_composed, tmp_path)
    assert not (tmp_path / "text").exists()
    assert not hasattr(small_composed.text_model, "peft_config")


@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"rslora": True}])
def test_merged_layout_is_the_pretrained_one(encoder, perturb, pixels, tokens, settings):
    names = list(encoder.state_dict())
    method = lora(encoder, **settings)
    perturb(encoder, 0.1)
    images, texts = encoder.image_features(pixels), encoder.text_features(**tokens)
    assert method.merge(encoder)
    assert list(encoder.state_dict()) == names
    torch.testing.assert_close(encoder.image_features(pixels), images, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder.text_features(**tokens), texts, atol=1e-5, rtol=1e-4)


def test_a_rank_that_differs_is_refused(make_clip, tmp_path):
    method = create({"name": "lora", "rank": 4})
    first, second = make_clip(), make_clip()
    method.apply(first, seed=0)
    method.save(first, tmp_path)
    other = create({"name": "lora", "rank": 8})
    other.apply(second, seed=0)
    with pytest.raises(InputError, match=r"adapter_model.safetensors: does not fit .*shapes differ: .*lora_A"):
        other.load(second, tmp_path)


def test_a_pickle_in_pefts_place_is_refused(small_clip, tmp_path):
    method = lora(small_clip)
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(InputError, match="adapter_model.bin: is a pickle"):
        method.load(small_clip, tmp_path)


def test_copies_stay_apart(small_clip, perturb, pixels):
    lora(small_clip)
    twin = copy.deepcopy(small_clip)
    before = twin.image_features(pixels)
    perturb(small_clip)
    assert torch.equal(twin.image_features(pixels), before)
