"""Checkpoints in the authors' layout, against an independent forward pass in plain PyTorch on the raw weights."""

import argparse

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, gelu, layer_norm, linear

from eotune.core.errors import InputError
from eotune.data.scenes import write_dataset
from eotune.encoders import load, load_image
from eotune.encoders.grouped import BANDS
from eotune.encoders.mae_weights import sincos_positions
from eotune.methods import create
from eotune.runs.long_tail_job import LongTailJob
from eotune.runs.recipe import parse_recipe
from eotune.runs.workshop import Workshop

WIDTH, HEADS, DEPTH, PATCH, GRID = 128, 2, 2, 8, 4
PUBLISHED = ((0, 1, 2, 6), (3, 4, 5, 7), (8, 9))


def blocks():
    shapes = {"norm1": (WIDTH,), "norm2": (WIDTH,), "attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    shapes |= {"mlp.fc1": (2 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 2 * WIDTH)}
    return {
        f"blocks.{i}.{name}.{leaf}": shape if leaf == "weight" else shape[:1]
        for i in range(DEPTH)
        for name, shape in shapes.items()
        for leaf in ("weight", "bias")
    }


def drawn(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def rgb_state():
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + GRID**2, WIDTH), "norm.weight": (WIDTH,)}
    shapes |= {"patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH), "patch_embed.proj.bias": (WIDTH,)}
    shapes |= {"norm.bias": (WIDTH,), "mask_token": (1, 1, 16), "decoder_embed.weight": (16, WIDTH)}
    return drawn(shapes | blocks())


def grouped_state(sizes=(4, 4, 2), width=32):
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + GRID**2, WIDTH - width), "norm.weight": (WIDTH,)}
    shapes |= {"channel_embed": (1, len(sizes), width), "norm.bias": (WIDTH,), "decoder_pred.0.weight": (4, 16)}
    for i, size in enumerate(sizes):
        shapes |= {f"patch_embed.{i}.proj.weight": (WIDTH, size, PATCH, PATCH), f"patch_embed.{i}.proj.bias": (WIDTH,)}
    return drawn(shapes | blocks())


def transformer(state, tokens):
    """The blocks and the last norm, token by token as timm's ViT of MAE's time did them."""
    n, t, _ = tokens.shape
    for i in range(DEPTH):
        w = {name.removeprefix(f"blocks.{i}."): one for name, one in state.items() if name.startswith(f"blocks.{i}.")}
        normed = layer_norm(tokens, (WIDTH,), w["norm1.weight"], w["norm1.bias"], 1e-6)
        qkv = linear(normed, w["attn.qkv.weight"], w["attn.qkv.bias"]).reshape(n, t, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).reshape(n, t, WIDTH)
        tokens = tokens + linear(mixed, w["attn.proj.weight"], w["attn.proj.bias"])
        normed = layer_norm(tokens, (WIDTH,), w["norm2.weight"], w["norm2.bias"], 1e-6)
        hidden = gelu(linear(normed, w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
        tokens = tokens + linear(hidden, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    return layer_norm(tokens, (WIDTH,), state["norm.weight"], state["norm.bias"], 1e-6)


def plain_forward(state, pixels, positions):
    embedded = conv2d(pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=PATCH)
    tokens = torch.cat([state["cls_token"].expand(len(pixels), -1, -1), embedded.flatten(2).transpose(1, 2)], 1)
    return transformer(state, tokens + positions)


def grouped_forward(state, pixels, groups):
    tokens = []
    for i, group in enumerate(groups):
        embedded = conv2d(
            pixels[:, list(group)], state[f"patch_embed.{i}.proj.weight"], state[f"patch_embed.{i}.proj.bias"],
            stride=PATCH,
        )  # fmt: skip
        for place in range(GRID**2):
            vector = torch.cat([state["pos_embed"][0, 1 + place], state["channel_embed"][0, i]])
            tokens.append(embedded[:, :, place // GRID, place % GRID] + vector)
    extra = state.get("channel_cls_embed", torch.zeros(1, 1, state["channel_embed"].shape[-1]))
    first = state["cls_token"][0, 0] + torch.cat([state["pos_embed"][0, 0], extra[0, 0]])
    return transformer(state, torch.stack([first.expand(len(pixels), -1), *tokens], 1))


def pixels(channels, side=PATCH * GRID):
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def saved(tmp_path):
    """Save a state as the authors' scripts do, with their arguments beside it."""

    def save(state, **more):
        path = tmp_path / "checkpoint.pth"
        torch.save({"model": state | more, "epoch": 3, "args": argparse.Namespace(lr=0.1, out="x")}, path)
        return path

    return save


@torch.no_grad()
@pytest.mark.parametrize("feature", ["", "#cls", "#mean"])
def test_satmae_of_rgb_images(saved, feature):
    state = rgb_state()
    encoder = load_image(f"satmae:{saved(state)}{feature}")
    states = plain_forward(state, pixels(3), state["pos_embed"])
    expected = states[:, 1:].mean(1) if feature == "#mean" else states[:, 0]
    torch.testing.assert_close(encoder.image_features(pixels(3)), expected, atol=1e-5, rtol=1e-4)
    assert (encoder.transform.size, encoder.transform.scaled_to, encoder.dim) == (32, 36, WIDTH)
    assert encoder.transform.mean[0] == pytest.approx(0.4182, abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("feature", ["", "#mean"])
@pytest.mark.parametrize("sizes", [(4, 4, 2), (3, 1)])
@pytest.mark.parametrize("fine_tuned", [False, True])
def test_satmae_of_groups_of_bands(saved, sizes, fine_tuned, feature):
    state = grouped_state(sizes)
    if fine_tuned:
        state["channel_cls_embed"] = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(2))
    encoder = load_image(f"satmae:{saved(state)}{feature}")
    groups = PUBLISHED if sizes == (4, 4, 2) else ((0, 1, 2), (3,))
    states = grouped_forward(state, pixels(sum(sizes)), groups)
    expected = states[:, 1:].mean(1) if feature else states[:, 0]
    torch.testing.assert_close(encoder.image_features(pixels(sum(sizes))), expected, atol=1e-5, rtol=1e-4)
    assert encoder.bands == (BANDS if sizes == (4, 4, 2) else None)
    assert encoder.channels == sum(sizes)
    image = np.full((50, 40, sum(sizes)), 255, np.uint8)
    assert encoder.embed_images([image]).shape == (1, WIDTH)
    assert encoder.transform.normalise(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)).unique().tolist() == [1.0]


def authors_table(width, grid, resolution):
    """Scale-MAE's positions, number by number."""
    table = np.zeros((1 + grid**2, width))
    for row in range(grid):
        for column in range(grid):
            for half, place in enumerate((column, row)):
                for i in range(width // 4):
                    angle = place * resolution / 10000 ** (i / (width / 4))
                    table[1 + row * grid + column, half * width // 2 + i] = np.sin(angle)
                    table[1 + row * grid + column, half * width // 2 + width // 4 + i] = np.cos(angle)
    return torch.tensor(table, dtype=torch.float32)[None]


@pytest.mark.parametrize(("grid", "resolution"), [(4, 1.0), (3, 0.3), (6, 10.0)])
def test_positions_follow_the_equation(grid, resolution):
    expected = authors_table(16, grid, resolution)
    torch.testing.assert_close(sincos_positions(16, grid, resolution), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("suffix", "resolution"), [("", 1.0), ("@0.3", 0.3), ("@10#cls", 10.0)])
@pytest.mark.parametrize("size", [None, 48])
def test_scale_mae_counts_its_positions_in_metres(saved, suffix, resolution, size):
    state = rgb_state() | {"fpn.x.weight": torch.ones(1), "fcn_high.y": torch.ones(1)}
    encoder = load_image(f"scalemae:{saved(state)}{suffix}", image_size=size)
    side = size or PATCH * GRID
    states = plain_forward(state, pixels(3, side), authors_table(WIDTH, side // PATCH, resolution))
    torch.testing.assert_close(encoder.image_features(pixels(3, side)), states[:, 0], atol=1e-4, rtol=1e-4)
    assert encoder.transform.size == side


@pytest.mark.parametrize("state", [rgb_state(), grouped_state()], ids=["rgb", "grouped"])
def test_another_size_interpolates_positions(saved, state):
    encoder = load_image(f"satmae:{saved(state)}", image_size=48)
    image = np.random.default_rng(0).integers(0, 256, (60, 70, encoder.channels), dtype=np.uint8)
    assert np.isfinite(encoder.embed_images([image])).all()
    with pytest.raises(InputError, match="47 is not a multiple"):
        load_image(f"satmae:{saved(state)}", image_size=47)


@pytest.mark.parametrize("name", ["lora", "adapter", "adaptformer", "full"])
@pytest.mark.parametrize("state", [rgb_state(), grouped_state()], ids=["rgb", "grouped"])
def test_methods_adapt_it(saved, state, name):
    encoder = load_image(f"satmae:{saved(state)}")
    given = pixels(encoder.channels)
    before = encoder.image_features(given).detach()
    settings = {} if name == "full" else {"patch_embedding": "trained"}
    create({"name": name, **settings}).apply(encoder, seed=0)
    torch.testing.assert_close(encoder.image_features(given), before)
    encoder.train().image_features(given).square().sum().backward()
    embeddings = [one for key, one in encoder.named_parameters() if "patch_embeddings" in key]
    assert len(embeddings) in (2, 6)
    assert all(one.grad is not None and one.grad.any() for one in embeddings)


def test_what_is_saved_is_read_again(saved, tmp_path):
    grouped = load_image(f"satmae:{saved(grouped_state())}")
    grouped.save(tmp_path / "grouped")
    assert load_image(f"satmae:{tmp_path}/grouped/model.safetensors").fingerprint() == grouped.fingerprint()
    rgb = load_image(f"satmae:{saved(rgb_state())}")
    rgb.save(tmp_path / "rgb")
    given = pixels(3)
    torch.testing.assert_close(load_image(f"hf:{tmp_path}/rgb").image_features(given), rgb.image_features(given))


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (without(rgb_state(), "cls_token"), r"missing 1 \(cls_token\)"),
        (without(rgb_state(), "blocks.1.norm1.bias"), r"missing 1 \(layers.1.layernorm_before.bias\)"),
        (rgb_state() | {"blocks.0.gamma": torch.ones(1)}, r"unexpected 1 \(blocks.0.gamma\)"),
        (rgb_state() | {"norm.bias": torch.ones(3)}, r"layernorm.bias \(3,\) instead of \(128,\)"),
        (rgb_state() | {"fc_norm.weight": torch.ones(3)}, "fine-tuned with global pooling"),
        (without(grouped_state(), "patch_embed.1.proj.weight"), r"missing 1 \(patch_embed.1.proj.weight\)"),
        (rgb_state() | {"patch_embed.proj.weight": torch.ones(WIDTH, 4, 8, 8)}, "takes 4 bands in one group"),
    ],
)
def test_another_checkpoint_is_refused_in_one_line(saved, state, says):
    with pytest.raises(InputError, match=says) as caught:
        load_image(f"satmae:{saved(state)}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [BANDS, [f"b{name.lstrip('B0').lower()}" for name in BANDS], map(str, range(2, 12))])
def test_bands_are_known_by_earth_engines_names_and_by_number(saved, given):
    assert load_image(f"satmae:{saved(grouped_state())}", bands=list(given)).channels == 10


@pytest.mark.parametrize("scaling", ["sigma", "percentile"])
def test_a_run_leaves_the_scale_it_was_pretrained_with(saved, tmp_path, capsys, scaling):
    counts = {"train": 2, "validation": 1, "test": 1}
    scenes = write_dataset(
        tmp_path / "scenes", counts, classes=("Forest", "Harbour"), size=32, spectrum="multispectral"
    )
    splits = {split: {"path": str(scenes), "split": split} for split in counts}
    recipe = parse_recipe({
        "name": "ten-bands", "task": {"name": "long_tail", **splits, "bands": {"bands": BANDS, "scaling": scaling}},
        "encoder": {"name": f"satmae:{saved(grouped_state())}"}, "method": {"name": "frozen"},
    })  # fmt: skip
    encoder = LongTailJob(recipe, Workshop()).encoder()
    assert (encoder.transform.mean, encoder.transform.std) == ((0.0,) * 10, (1.0,) * 10)
    assert ("was pretrained with sigma" in capsys.readouterr().err) == (scaling == "percentile")


def test_other_names_are_refused(saved, tmp_path):
    path = saved(rgb_state())
    with pytest.raises(InputError, match="'far' is no ground sampling distance; write metres"):
        load_image(f"scalemae:{path}@far")
    with pytest.raises(InputError, match="reads no text"):
        load(f"satmae:{path}")
    with pytest.raises(InputError, match="no projection"):
        load_image(f"satmae:{path}#projected")
    with pytest.raises(InputError, match="no such file"):
        load_image(f"satmae:{tmp_path}/none.pth")
    with pytest.raises(InputError, match="takes 10 bands of its own, not 12"):
        load_image(f"satmae:{saved(grouped_state())}", channels=12)
    with pytest.raises(InputError, match="takes the bands B02, .* not red"):
        load_image(f"satmae:{saved(grouped_state())}", bands=["red"])


def test_pickled_code_stays_unread(tmp_path):
    class Surprise:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "x.pth"
    torch.save({"model": rgb_state(), "args": Surprise()}, path)
    with pytest.raises(InputError, match="holds other objects"):
        load_image(f"satmae:{path}")
