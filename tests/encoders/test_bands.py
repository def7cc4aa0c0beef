import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.encoders import load_image
from eotune.encoders.bands import spread

SENTINEL = ["B02", "B03", "B04", "B08", "B11", "B12"]
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def filters(encoder):
    return encoder.get_submodule(encoder.towers["image"].patch_embedding).weight.detach()


def features(encoder, pixels):
    with torch.no_grad():
        return encoder.image_features(pixels)


@pytest.mark.parametrize("bands", [None, ["red", "green", "blue"], ["R", "G", "B"], ["B04", "B03", "B02"]])
@pytest.mark.parametrize("channels", [None, 3])
def test_red_green_and_blue_are_the_model_to_the_bit(bands, channels, models):
    plain = load_image(f"hf:{models['vit']}")
    encoder = load_image(f"hf:{models['vit']}", channels=channels, bands=bands)
    assert encoder.fingerprint() == plain.fingerprint()
    assert torch.equal(features(encoder, PIXELS), features(plain, PIXELS))
    assert encoder.bands == (None if bands is None else tuple(bands))


def test_another_order_of_the_colours_is_the_model_on_reordered_images(models):
    plain, encoder = (load_image(f"hf:{models['vit']}", bands=bands) for bands in (None, ["blue", "green", "red"]))
    assert torch.equal(filters(encoder), filters(plain)[:, [2, 1, 0]])
    torch.testing.assert_close(features(encoder, PIXELS[:, [2, 1, 0]]), features(plain, PIXELS))


@pytest.mark.parametrize(
    ("channels", "bands"), [(6, SENTINEL), (None, SENTINEL), (1, None), (2, ["vv", "vh"]), (13, None)]
)
@pytest.mark.parametrize("family", ["vit", "dinov2", "clip", "siglip"])
def test_an_image_alike_in_all_bands_gives_the_same_feature(family, channels, bands, models):
    plain = load_image(f"hf:{models[family]}")
    encoder = load_image(f"hf:{models[family]}", channels=channels, bands=bands)
    count = channels or len(bands)
    assert (encoder.channels, len(encoder.transform.std)) == (count, count)
    grey = PIXELS[:, :1]
    wide, three = features(encoder, grey.expand(-1, count, -1, -1)), features(plain, grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(wide, three, atol=1e-5, rtol=1e-4)
    assert encoder.embed_images([np.zeros((40, 50, count), np.uint8)]).shape == (1, 32)


def test_named_bands_take_their_own_filter_and_others_the_mean(models):
    weight = filters(load_image(f"hf:{models['vit']}"))
    got = filters(load_image(f"hf:{models['vit']}", bands=SENTINEL))
    for band, source in enumerate((weight[:, 2], weight[:, 1], weight[:, 0], *3 * (weight.mean(1),))):
        torch.testing.assert_close(got[:, band], source / 2)
    torch.testing.assert_close(spread(weight, [None]), weight.sum(1, keepdim=True))


def test_mean_and_deviation_follow_the_filters(models):
    encoder = load_image(f"hf:{models['clip']}", bands=["nir", "red"])
    plain = load_image(f"hf:{models['clip']}").transform
    assert encoder.transform.mean == (pytest.approx(sum(plain.mean) / 3), plain.mean[0])
    assert encoder.transform.std == (pytest.approx(sum(plain.std) / 3), plain.std[0])


def test_statistics_of_the_images_can_take_their_place(models):
    encoder = load_image(f"hf:{models['vit']}", channels=2)
    encoder.normalise_by(np.array([0.25, 0.5]), [0.5, 0.25])
    assert encoder.transform.normalise(torch.full((1, 2, 1, 1), 255, dtype=torch.uint8)).flatten().tolist() == [1.5, 2]
    for mean, std in (([0.5], [0.5]), ([0.5, 0.5], [0.5, 0.0]), ([0.5, 0.5], [0.5])):
        with pytest.raises(InputError, match="do not fit a model of 2 bands"):
            encoder.normalise_by(mean, std)


def test_what_is_saved_keeps_its_bands(models, tmp_path):
    encoder = load_image(f"hf:{models['vit']}", bands=SENTINEL)
    encoder.normalise_by([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.2] * 6)
    encoder.save(tmp_path)
    again = load_image(f"hf:{tmp_path}")
    assert again.bands == tuple(SENTINEL)
    assert again.fingerprint() == encoder.fingerprint()
    assert load_image(f"hf:{tmp_path}", channels=6, bands=SENTINEL).fingerprint() == encoder.fingerprint()
    with pytest.raises(InputError, match="takes the bands B02, B03, .* not B03, B02"):
        load_image(f"hf:{tmp_path}", bands=["B03", "B02", *SENTINEL[2:]])
    with pytest.raises(InputError, match="takes 6 bands of its own, not 3"):
        load_image(f"hf:{tmp_path}", channels=3)


@pytest.mark.parametrize(
    ("channels", "bands", "says"),
    [(4, ["red"], r"4 channels, but bands names 1 \(red\)"), (0, None, "0 channels"), (None, [], "0 channels, but")],
)
def test_numbers_and_names_must_agree(channels, bands, says, models):
    with pytest.raises(InputError, match=says):
        load_image(f"hf:{models['vit']}", channels=channels, bands=bands)


def test_an_image_with_other_bands_is_refused(models):
    encoder = load_image(f"hf:{models['vit']}", channels=4)
    with pytest.raises(InputError, match="an image of 3 bands came to a model of 4"):
        encoder.embed_images([np.zeros((40, 50, 3), np.uint8)])
