"""What every method promises, over every file of eotune.methods, every variant worth its own line and both kinds of
encoder."""

import copy

import pytest
import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.methods import create, load_adapted, names, parameter_counts, save_adapted

VARIANTS = [
    *({"name": name} for name in names()),
    {"name": "lora", "dora": True, "heads": True},
    {"name": "lora", "targets": "attention", "rslora": True, "towers": "text"},
    {"name": "full", "towers": "image", "freeze_embeddings": True, "logit_scale": "frozen"},
    *({"name": "harma", "bottleneck": 16, "share": share} for share in ("layers", "modalities", "none")),
    {"name": "harma", "bottleneck": 32, "layers": "last-1", "heads": True},
    {"name": "harma", "bottleneck": 16, "input_norm": True},
    {"name": "harma", "bottleneck": 16, "towers": "text", "logit_scale": "frozen"},
    {"name": "harma", "bottleneck": 16, "variant": "released"},
    {"name": "adapter", "placement": "pfeiffer", "share": "layers", "activation": "relu", "heads": True},
    {"name": "adapter", "bottleneck": 4, "towers": "text", "logit_scale": "frozen"},
    {"name": "adaptformer", "scale": "learned", "share": "layers"},
    {"name": "adaptformer", "bottleneck": 4, "towers": "image"},
    {"name": "clip_adapter", "start": "identity", "towers": "both", "reduction": 2},
    {"name": "linear", "towers": "text"},
    {"name": "lora", "rank": 2, "patch_embedding": "trained"},
    {"name": "adaptformer", "patch_embedding": "trained", "towers": "image"},
]
TRAINED = [settings for settings in VARIANTS if settings["name"] != "frozen"]
START_ELSEWHERE = ("clip_adapter",)  # its source mixes a random MLP in; its start: identity is held to the rule
FOLDED = ("deblora", "frozen", "full", "heads", "linear", "lora")  # their merged model has the pretrained layout
MASKED = [settings for settings in VARIANTS if settings.get("variant") != "released"]


DUAL, IMAGE = ("clip", "composed"), ("vit", "projected")


def label(settings):
    return settings if isinstance(settings, str) else "-".join(str(value) for value in settings.values())


def over(variants, families=DUAL + IMAGE):
    """Run a test over every pair of family and variant that go together."""
    pairs = [(family, settings) for family in families for settings in variants if fits(family, settings)]
    return pytest.mark.parametrize(("load", "settings"), pairs, indirect=["load"], ids=label)


def fits(family, settings):
    if family in DUAL:
        return True
    lacks_text = create(settings).needs_text or settings.get("towers") == "text"
    return not lacks_text and not (family == "vit" and settings.get("heads"))


def adapted(load, settings, *, seed=0, moved=True):
    """Load, adapt and, to see what starts at zero, move every trained parameter off its start."""
    encoder, method = load(), create(settings)
    method.apply(encoder, seed=seed)
    if moved:
        move(encoder)
    return encoder, method


def move(encoder, size=0.2):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, parameter in sorted(encoder.named_parameters()):
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=generator)


def embed(encoder, pixels, texts) -> list[Tensor]:
    """Return the embeddings of every tower."""
    arrays = [encoder.embed_pixels(pixels)]
    if "text" in encoder.towers:
        arrays.append(encoder.embed_tokens(encoder.tokenize(texts)))
    return [torch.from_numpy(array) for array in arrays]


def loss_of(encoder, pixels, texts):
    if "text" not in encoder.towers:
        features = encoder(pixels)
        return (features * torch.linspace(-1, 1, features.shape[1])).sum(1).square().mean()
    output = encoder(pixels, **encoder.tokenize(texts))
    images, words = (
        torch.nn.functional.normalize(one, dim=-1) for one in (output.image_embeddings, output.text_embeddings)
    )
    return torch.nn.functional.cross_entropy(output.logit_scale * images @ words.T, torch.arange(len(texts)))


def step(encoder, method, pixels, texts):
    encoder.train()
    kept = method.no_decay(encoder)
    trained = {name: one for name, one in encoder.named_parameters() if one.requires_grad}
    optimiser = torch.optim.AdamW(
        [
            {"params": [one for name, one in trained.items() if name not in kept], "weight_decay": 0.1},
            {"params": [one for name, one in trained.items() if name in kept], "weight_decay": 0.0},
        ],
        lr=1e-2,
    )
    loss_of(encoder, pixels, texts).backward()
    optimiser.step()
    encoder.eval()


@over(VARIANTS)
def test_start_is_the_pretrained_model(load, settings, pixels, texts):
    encoder, method = adapted(load, settings, moved=False)
    assert method.starts_pretrained() == (label(settings) not in START_ELSEWHERE)
    # DoRA divides by a length and multiplies by it again; CLIP-Adapter scales all of an embedding down.
    tolerance = 1e-6 if settings.get("dora") or settings.get("start") == "identity" else 0.0
    distance = max(
        float((now - before).abs().max())
        for now, before in zip(embed(encoder, pixels, texts), embed(load(), pixels, texts), strict=True)
    )
    assert distance <= tolerance if method.starts_pretrained() else 1e-3 < distance < 0.5


@over(TRAINED)
def test_moving_the_trained_parameters_moves_the_outputs(load, settings, pixels, texts):
    """Without this the contracts below would hold for an adapter that does nothing."""
    encoder, _ = adapted(load, settings)
    base = embed(load(), pixels, texts)
    moved = [(now - before).abs().max() > 1e-3 for now, before in zip(embed(encoder, pixels, texts), base, strict=True)]
    towers = getattr(create(settings).config, "towers", "both")
    expected = {"image": [True, False], "text": [False, True], "both": [True, True]}[towers]
    assert moved == expected[: len(moved)]


@over(VARIANTS)
def test_only_declared_parameters_change(load, settings, pixels, texts):
    encoder, method = adapted(load, settings)
    before = {name: one.clone() for name, one in encoder.state_dict().items()}
    trained = {name for name, one in encoder.named_parameters() if one.requires_grad}
    if trained:
        step(encoder, method, pixels, texts)
    changed = {name for name, one in encoder.state_dict().items() if not torch.equal(one, before[name])}
    assert changed <= trained
    assert len(changed) >= 0.8 * len(trained)  # keys' biases have no gradient
    assert all(one.grad is None for name, one in encoder.named_parameters() if name not in trained)
    assert method.no_decay(encoder) <= trained


@over(TRAINED)
def test_gates_biases_norms_and_the_scale_are_not_decayed(load, settings):
    encoder, method = adapted(load, settings)
    vectors = {name for name, one in encoder.named_parameters() if one.requires_grad and one.ndim < 2}
    assert method.no_decay(encoder) == (set() if settings.get("variant") == "released" else vectors)


@over(VARIANTS)
def test_saved_and_loaded_outputs_are_equal(load, settings, pixels, texts, tmp_path):
    encoder, method = adapted(load, settings)
    save_adapted(tmp_path / "run", method, encoder)
    loaded = load_adapted(tmp_path / "run")
    for now, before in zip(embed(loaded, pixels, texts), embed(encoder, pixels, texts), strict=True):
        assert torch.equal(now, before)
    if "text" in encoder.towers:
        assert torch.equal(loaded.logit_scale(), encoder.logit_scale())
    assert parameter_counts(loaded) == parameter_counts(encoder)
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt"))


@over(TRAINED)
def test_the_same_seed_gives_the_same_numbers(load, settings, pixels, texts):
    results = []
    for _ in range(2):
        encoder, method = adapted(load, settings, seed=5, moved=False)
        for _ in range(2):
            step(encoder, method, pixels, texts)
        results.append(embed(encoder, pixels, texts))
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))


@over(MASKED)
def test_an_embedding_does_not_depend_on_its_batch_mates(load, settings, pixels, texts):
    encoder, _ = adapted(load, settings)
    together = embed(encoder, pixels, texts)
    for i in range(len(texts)):
        alone = embed(encoder, pixels[i : i + 1], texts[i : i + 1])
        for one, all_of_them in zip(alone, together, strict=True):
            assert (one[0] - all_of_them[i]).abs().max() < 1e-5


@over([one for one in VARIANTS if one not in MASKED], DUAL)
def test_released_depends_on_padding_alone(load, settings, pixels, texts):
    """It sees padding, as the published code does, but no other sample."""
    encoder, _ = adapted(load, settings)
    tokens = encoder.tokenize(texts)
    together = torch.from_numpy(encoder.embed_tokens(tokens))
    for i in range(len(texts)):
        alone = encoder.embed_tokens({key: value[i : i + 1] for key, value in tokens.items()})[0]
        assert (torch.from_numpy(alone) - together[i]).abs().max() < 1e-5


@over(MASKED, DUAL)
def test_an_embedding_does_not_depend_on_its_padding(load, settings, texts):
    encoder, _ = adapted(load, settings)
    tokens = encoder.tokenize(texts)
    longer = {key: torch.nn.functional.pad(value, (0, 4)) for key, value in tokens.items()}
    noisy = {**longer, "input_ids": longer["input_ids"] + 9 * (1 - longer["attention_mask"])}
    expected = torch.from_numpy(encoder.embed_tokens(tokens))
    for other in (longer, noisy):
        assert (torch.from_numpy(encoder.embed_tokens(other)) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("padding", [0, 2])
@over(MASKED, DUAL)
def test_text_states_see_no_padding_and_no_future(load, settings, padding):
    """Token by token, not only where the embedding is taken: change one token and look who notices."""
    encoder, _ = adapted(load, settings)
    states: list[Tensor] = []
    block = encoder.towers["text"].blocks[-1]
    encoder.get_submodule(block.path).register_forward_hook(
        lambda _module, _args, output: states.append(output[0] if isinstance(output, tuple) else output)
    )
    ids = torch.tensor([[2, 5, 6, 7, 8, 3] + [0] * padding])
    mask = torch.tensor([[1] * 6 + [0] * padding])
    for changed in (None, 3, *range(6, 6 + padding)):
        now = ids.clone()
        if changed is not None:
            now[0, changed] = 20
        with torch.no_grad():
            encoder.text_features(now, mask)
    plain, middle, *padded = (one[0, :6] for one in states)
    assert all((one - plain).abs().max() < 1e-5 for one in padded)
    moved = (middle - plain).abs().amax(-1) > 1e-5
    assert moved.tolist() == ([False] * 3 + [True] * 3 if block.causal else [True] * 6)


@over(VARIANTS)
def test_a_merged_model_gives_the_same_in_the_pretrained_layout(load, settings, pixels, texts):
    encoder, method = adapted(load, settings)
    before = embed(encoder, pixels, texts)
    folded = method.merge(encoder)
    for now, then in zip(embed(encoder, pixels, texts), before, strict=True):
        assert (now - then).abs().max() < 1e-5
    assert folded == (encoder.state_dict().keys() == load().state_dict().keys())
    assert folded == (settings["name"] in FOLDED)


@over(TRAINED)
def test_gradient_checkpointing_gives_the_same_gradients(load, settings, pixels, texts):
    encoder, _ = adapted(load, settings)
    plain = copy.deepcopy(encoder)
    encoder.enable_gradient_checkpointing()
    for model in (plain, encoder):
        model.train()
        loss_of(model, pixels, texts).backward()
    expected = {name: one.grad for name, one in plain.named_parameters() if one.grad is not None}
    assert expected
    for name, parameter in encoder.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


@over(TRAINED)
def test_parameters_are_counted_once_and_named_once(load, settings):
    encoder, _ = adapted(load, settings)
    before = parameter_counts(load())
    counts = parameter_counts(encoder)
    distinct = {id(one): one for one in encoder.parameters()}.values()
    assert counts.total == sum(one.numel() for one in distinct)
    assert counts.trainable == sum(one.numel() for one in distinct if one.requires_grad)
    assert counts.pretrained == before.total
    assert len(list(encoder.named_parameters())) == len(list(encoder.named_parameters(remove_duplicate=False)))


@pytest.mark.parametrize("load", IMAGE, indirect=True)
@pytest.mark.parametrize("settings", [one for one in VARIANTS if not fits("projected", one)], ids=label)
def test_what_needs_text_refuses_an_image_encoder(load, settings):
    with pytest.raises(InputError, match="no text tower") as caught:
        create(settings).apply(load(), seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("load", ["vit"], indirect=True)
@pytest.mark.parametrize("name", ["lora", "adapter", "adaptformer"])
def test_heads_that_an_encoder_lacks_are_refused(load, name):
    with pytest.raises(InputError, match="method.heads: encoder .* has no projection heads; leave it out"):
        create({"name": name, "heads": True}).apply(load(), seed=0)
