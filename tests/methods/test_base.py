import copy

import pytest
import torch

from eotune.core.errors import InputError
from eotune.encoders.pretrained import recompute_activations
from eotune.methods import create, names, parameter_counts
from eotune.methods.base import ParameterCounts, projection_parameters, scale_parameters, seeded, trained_parameters


def test_shared_parameters_count_once(small_clip):
    small_clip.again = small_clip.model.visual_projection
    sizes = {id(one): one.numel() for one in small_clip.parameters()}
    assert parameter_counts(small_clip) == ParameterCounts(*3 * (sum(sizes.values()),))


def test_share_is_of_the_pretrained_size(small_clip):
    before = parameter_counts(small_clip).total
    create({"name": "lora"}).apply(small_clip, seed=0)
    counts = parameter_counts(small_clip)
    assert counts.pretrained == before
    assert counts.total > before
    assert counts.share == counts.trainable / before


@pytest.mark.parametrize("first", [name for name in names() if name != "frozen"])
def test_an_adapted_encoder_is_not_adapted_again(small_clip, first):
    create({"name": first}).apply(small_clip, seed=0)
    with pytest.raises(InputError, match="'hf:small' is already adapted; export it"):
        create({"name": "lora"}).apply(small_clip, seed=0)


def test_an_adapted_encoder_can_be_frozen(small_clip):
    create({"name": "lora"}).apply(small_clip, seed=0)
    create({"name": "frozen"}).apply(small_clip, seed=0)
    assert parameter_counts(small_clip).trainable == 0


@pytest.mark.parametrize("name", ["harma", "adapter", "adaptformer", "lora"])
@pytest.mark.parametrize("recompute", [False, True])
def test_texts_may_come_in_groups_of_like_length(encoder, perturb, pixels, name, recompute):
    create({"name": name}).apply(encoder, seed=0)
    perturb(encoder)
    encoder.double().train()
    if recompute:
        for backbone in encoder.backbones.values():
            recompute_activations(encoder.get_submodule(backbone))
    lengths = 3 + torch.arange(70) % 7
    mask = (torch.arange(9) < lengths[:, None]).long()
    tokens = {"input_ids": torch.randint(1, 49, (70, 9)) * mask, "attention_mask": mask}
    tokens["input_ids"][torch.arange(70), lengths - 1] = 49
    gradients = []
    for features in (encoder(pixels, **tokens).text_embeddings, encoder.text_features(**tokens)):
        features.sin().sum().backward()
        gradients.append({key: one.grad for key, one in encoder.named_parameters() if one.grad is not None})
        encoder.zero_grad()
    grouped, whole = gradients
    assert len(whole) > 4
    for key, gradient in whole.items():
        torch.testing.assert_close(grouped[key], gradient)


def test_a_merged_encoder_can_be_adapted_again(small_clip):
    method = create({"name": "lora"})
    method.apply(small_clip, seed=0)
    assert method.merge(small_clip)
    create({"name": "harma", "bottleneck": 16}).apply(small_clip, seed=0)
    assert parameter_counts(small_clip).trainable > 0


def test_origin_is_the_encoder_of_before(small_clip):
    fingerprint = small_clip.fingerprint()
    method = create({"name": "harma", "bottleneck": 16})
    method.apply(small_clip, seed=3)
    assert (method.origin.fingerprint, method.origin.seed, method.origin.image_size) == (fingerprint, 3, 16)
    assert small_clip.fingerprint() != fingerprint


def test_seeded_draws_leave_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with seeded(1, "a"):
        first = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with seeded(1, "b"):
        assert not torch.equal(torch.rand(2), first)


@pytest.mark.parametrize("name", names())
def test_applying_consumes_no_global_randomness(encoder, name):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    create({"name": name}).apply(encoder, seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_scale_and_projections_are_found(small_clip, small_composed):
    assert scale_parameters(small_clip) == {"model.logit_scale"}
    assert projection_parameters(small_clip) == {"model.visual_projection.weight", "model.text_projection.weight"}
    assert scale_parameters(small_composed) == {"scale"}
    assert projection_parameters(small_composed) == {
        "image_projection.weight",
        "image_projection.bias",
        "text_projection.weight",
    }


@pytest.mark.parametrize("name", ["heads", "lora", "harma", "full"])
def test_the_logit_scale_can_stay_frozen(encoder, name):
    frozen = copy.deepcopy(encoder)
    create({"name": name}).apply(encoder, seed=0)
    create({"name": name, "logit_scale": "frozen"}).apply(frozen, seed=0)
    assert encoder.log_scale.requires_grad
    assert not frozen.log_scale.requires_grad
    assert parameter_counts(encoder).trainable == parameter_counts(frozen).trainable + 1


@pytest.mark.parametrize("name", ["lora", "harma"])
def test_projection_heads_train_along_when_asked(encoder, name):
    plain = copy.deepcopy(encoder)
    create({"name": name}).apply(plain, seed=0)
    create({"name": name, "heads": True}).apply(encoder, seed=0)
    added = trained_parameters(encoder).keys() - trained_parameters(plain).keys()
    assert added == projection_parameters(encoder)


def test_a_phase_is_named_and_frozen_has_none():
    assert create({"name": "frozen"}).phases() == ()
    assert [phase.name for phase in create({"name": "lora"}).phases()] == ["train"]
    assert dict(create({"name": "lora"}).phases()[0].objective) == {}
