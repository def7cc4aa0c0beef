import pytest

from eotune.methods import create, parameter_counts


def trained(encoder, **settings):
    create({"name": "full", **settings}).apply(encoder, seed=0)
    return {name for name, one in encoder.named_parameters() if one.requires_grad}


def test_everything_trains(encoder):
    trained(encoder)
    counts = parameter_counts(encoder)
    assert counts.trainable == counts.total == counts.pretrained


@pytest.mark.parametrize("tower", ["image", "text"])
def test_one_tower_trains_with_its_head_and_the_scale(small_composed, tower):
    names = trained(small_composed, towers=tower)
    assert {name.partition("_")[0] for name in names - {"scale"}} == {tower}
    assert {f"{tower}_projection.weight", "scale"} <= names


def test_embeddings_can_stay_frozen(encoder):
    everything = {name for name, _ in encoder.named_parameters()}
    frozen = everything - trained(encoder, freeze_embeddings=True)
    assert frozen
    assert frozen == {name for name in everything if ".embeddings." in name}


def test_frozen_embeddings_of_one_tower(small_clip):
    names = trained(small_clip, towers="text", freeze_embeddings=True)
    assert not any("vision" in name or "embeddings" in name for name in names)
    assert "model.text_model.encoder.layers.0.mlp.fc1.weight" in names
