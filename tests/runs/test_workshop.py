import pytest
import torch

from eotune.data.captions import read_captions
from eotune.runs import workshop as module
from eotune.runs.recipe import EncoderConfig
from eotune.runs.workshop import Workshop
from eotune.tasks.retrieval import EvaluationSet

TINY = EncoderConfig(name="tiny")


@pytest.fixture
def loaded(monkeypatch):
    """Count how often an encoder is read."""
    calls, real = [], module.load_model
    monkeypatch.setattr(module, "load_model", lambda *args, **rest: calls.append(args) or real(*args, **rest))
    return calls


def test_each_run_gets_an_encoder_of_its_own_from_one_reading(loaded):
    workshop = Workshop()
    first, second = workshop.encoder(TINY), workshop.encoder(TINY)
    fingerprint = second.fingerprint()
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    assert workshop.encoder(TINY).fingerprint() == second.fingerprint() == fingerprint != first.fingerprint()
    assert len(loaded) == 1
    workshop.encoder(EncoderConfig(name="tiny", image_size=48))
    assert len(loaded) == 2


def test_a_single_run_keeps_no_second_encoder(loaded):
    workshop = Workshop(keep_encoder=False)
    assert workshop.encoder(TINY) is not workshop.encoder(TINY)
    assert len(loaded) == 2


def test_the_pretrained_figures_are_measured_once_a_set(captions, loaded):
    workshop = Workshop(keep_encoder=False)
    encoder = workshop.encoder(TINY)
    sets = [EvaluationSet(read_captions(captions, split=split), encoder) for split in ("validation", "test")]
    settings = {"bands": None, "precision": "fp32", "device": "cpu"}
    found = [workshop.zero_shot(TINY, one, **settings) for one in (*sets, *sets)]
    assert found[0] is found[2]
    assert found[1] is found[3]
    assert found[0].result.values == sets[0].evaluate(encoder, bootstrap=0).values
    assert found[0].result.n_images == len(sets[0].captions)
    assert workshop.zero_shot(TINY, sets[0], **{**settings, "precision": "bf16"}) is not found[0]
    assert len(loaded) == 2  # once to change, once to measure


def test_images_are_fingerprinted_once(captions, monkeypatch):
    workshop, read = Workshop(), []
    real = module.take_inventory
    monkeypatch.setattr(module, "take_inventory", lambda some, **rest: read.append(len(some)) or real(some, **rest))
    train, test = (read_captions(captions, split=split) for split in ("train", "test"))
    half = train.subset(range(len(train) // 2))
    first, whole = workshop.inventory(half, bands=None), workshop.inventory(train, bands=None)
    assert read == [len(half), len(train) - len(half)]
    assert whole.pixels()[: len(half)] == first.pixels()
    expected = real(train)
    assert (whole.pixels(), whole.texts) == (expected.pixels(), expected.texts)
    held = workshop.inventory(test, bands=None)
    assert workshop.leaks(whole, held) is workshop.leaks(whole, held)
    assert workshop.leaks(held, held).shared_images == len(test)


def test_an_image_that_cannot_be_read_is_named_each_time(captions, tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    (folder / "a.jsonl").write_text('{"image": "a.png", "captions": ["a field"]}\n')
    workshop = Workshop()
    for _ in range(2):
        taken = workshop.inventory(read_captions(folder / "a.jsonl"), bands=None)
        assert taken.pixels() == (None,)
        assert "a.png" in taken.problems[0]
