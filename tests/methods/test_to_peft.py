import json

import pytest
import torch

from eotune.core.errors import InputError
from eotune.encoders import load_image
from eotune.methods.by_name import create
from eotune.methods.to_peft import obstacle, read_peft, write_peft


def adapted(encoder, perturb, **settings):
    method = create({"name": "lora", "rank": 2, **settings})
    method.apply(encoder, seed=0)
    perturb(encoder)
    return method


@pytest.mark.parametrize("settings", [{}, {"heads": True}, {"towers": "text", "dora": True}], ids=str)
def test_peft_alone_gives_the_adapted_embeddings(make_clip, perturb, pixels, tokens, tmp_path, settings):
    encoder = make_clip()
    write_peft(encoder, adapted(encoder, perturb, **settings), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    heads = ["visual_projection", "text_projection"] if "heads" in settings else None
    assert json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"] == heads
    plain = make_clip()
    with torch.no_grad():
        before = plain.text_features(**tokens)
        alone = read_peft(plain, tmp_path)
        torch.testing.assert_close(alone.image_features(pixels), encoder.image_features(pixels))
        torch.testing.assert_close(alone.text_features(**tokens), encoder.text_features(**tokens))
        assert not torch.allclose(alone.text_features(**tokens), before)


def test_each_tower_of_a_composed_encoder_has_its_own(make_composed, perturb, pixels, tokens, tmp_path):
    encoder = make_composed()
    write_peft(encoder, adapted(encoder, perturb), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "text"]
    alone = read_peft(make_composed(), tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(alone.image_features(pixels), encoder.image_features(pixels))
        torch.testing.assert_close(alone.text_features(**tokens), encoder.text_features(**tokens))


def test_a_patch_embedding_that_trained_along_goes_with_the_adapter(vit_directory, perturb, pixels, tmp_path):
    encoder = load_image(f"hf:{vit_directory}")
    write_peft(encoder, adapted(encoder, perturb, patch_embedding="trained"), tmp_path)
    modules = json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"]
    assert modules == ["embeddings.patch_embeddings.projection"]
    alone = read_peft(load_image(f"hf:{vit_directory}"), tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(alone.image_features(pixels), encoder.image_features(pixels))
    assert obstacle(encoder, create({"name": "lora"})) is None


def test_what_peft_cannot_load_is_named(make_clip, make_composed, perturb, tmp_path):
    encoder = make_composed()
    method = adapted(encoder, perturb, heads=True)
    with pytest.raises(InputError, match="image_projection trained along, and lies outside the models that peft loads"):
        write_peft(encoder, method, tmp_path)
    assert obstacle(make_clip(), create({"name": "harma", "bottleneck": 16})) == "method 'harma' is not LoRA"
    assert not any(tmp_path.iterdir())
