import torch

from eotune.methods import create, parameter_counts


def test_nothing_trains_and_nothing_is_decayed(encoder, pixels):
    before = encoder.image_features(pixels)
    method = create({"name": "frozen"})
    method.apply(encoder, seed=0)
    assert parameter_counts(encoder).trainable == 0
    assert method.no_decay(encoder) == set()
    assert torch.equal(encoder.image_features(pixels), before)
    assert method.merge(encoder)


def test_its_adapter_is_empty(encoder, tmp_path):
    method = create({"name": "frozen"})
    method.apply(encoder, seed=0)
    method.save(encoder, tmp_path)
    method.load(encoder, tmp_path)
    assert (tmp_path / "adapter.safetensors").stat().st_size < 100
