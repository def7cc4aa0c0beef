from dataclasses import replace

import pytest

from eotune.core.errors import InputError
from eotune.methods import create


def test_only_projections_and_the_scale_train(small_composed):
    create({"name": "heads"}).apply(small_composed, seed=0)
    assert {name for name, one in small_composed.named_parameters() if one.requires_grad} == {
        "image_projection.weight",
        "image_projection.bias",
        "text_projection.weight",
        "scale",
    }


def test_biases_and_the_scale_are_not_decayed(small_composed):
    method = create({"name": "heads"})
    method.apply(small_composed, seed=0)
    assert method.no_decay(small_composed) == {"image_projection.bias", "scale"}


def test_an_encoder_without_heads_is_refused(small_clip):
    small_clip.towers = {name: replace(tower, projection=None) for name, tower in small_clip.towers.items()}
    with pytest.raises(InputError, match="'hf:small' has no projection heads to train; use another method"):
        create({"name": "heads"}).apply(small_clip, seed=0)
