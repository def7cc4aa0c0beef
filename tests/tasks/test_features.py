import numpy as np
import pytest
import torch

from eotune import encoders
from eotune.data.captions import read_captions
from eotune.data.images import read_image
from eotune.data.scenes import write_dataset
from eotune.methods import Phase, create
from eotune.tasks.features import FeaturePairs, FeatureTraining
from eotune.tasks.retrieval import EvaluationSet, RetrievalConfig, evaluate_retrieval, read_data
from eotune.training.config import TrainingConfig


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"train": 2, "validation": 1, "test": 1}, size=48)


@pytest.fixture
def prepared(captions):
    """A task, its data, an encoder with the method applied, and training on its features."""
    splits = {split: {"captions": captions, "split": split} for split in ("train", "validation", "test")}
    config = RetrievalConfig.model_validate(splits)
    data, encoder, method = read_data(config, seed=0), encoders.load("tiny"), create({"name": "linear"})
    method.apply(encoder, seed=0)
    ready = FeatureTraining(config, data, encoder, TrainingConfig(), seed=0)
    return data, encoder, ready, ready.work(method.phases()[0], frozenset(method.no_decay(encoder)))


def test_a_step_has_the_gradient_of_the_whole_encoder(prepared):
    data, encoder, ready, work = prepared
    batch = work.collate([work.dataset[(0, index)] for index in (0, 3, 7, 11)])
    trained = {name: one for name, one in encoder.named_parameters() if one.requires_grad}
    loss = work.loss(work.model(**batch["inputs"]), batch["targets"])
    gradients = torch.autograd.grad(loss, list(trained.values()))

    numbers, wording = batch["targets"], ready.pairs.pairing.wording
    paths = [data.train.path(data.train.samples[i]) for i in numbers["image_ids"]]
    pixels = torch.from_numpy(np.stack([encoder.transform(read_image(path)) for path in paths]))
    whole = work.loss(encoder(pixels, **encoder.tokenize([wording[i] for i in numbers["text_ids"]])), numbers)
    expected = torch.autograd.grad(whole, list(trained.values()))
    assert len(trained) == 3
    torch.testing.assert_close(loss, whole)
    for cached, slow in zip(gradients, expected, strict=True):  # the length of an embedding cancels out
        torch.testing.assert_close(cached, slow, rtol=1e-4, atol=1e-5)


def test_validation_is_that_of_the_whole_encoder(prepared):
    data, encoder, _, work = prepared
    with torch.no_grad():
        for name, one in encoder.named_parameters():
            if name.endswith(".map"):
                one += 0.2 * torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
    expected = evaluate_retrieval(encoder, data.validation, bootstrap=0).values
    assert work.evaluate() == pytest.approx(expected)
    untouched = encoders.load("tiny")
    assert expected != EvaluationSet(data.validation, untouched).evaluate(untouched).values


def test_no_tower_runs_after_the_start(prepared):
    _, encoder, _, work = prepared
    calls = []
    for path in encoder.backbones.values():
        for module in encoder.get_submodule(path).modules():
            module.register_forward_hook(lambda *_: calls.append(1))
    batch = work.collate([work.dataset[(0, index)] for index in range(4)])
    work.loss(work.model(**batch["inputs"]), batch["targets"]).backward()
    work.evaluate()
    assert calls == []


def test_what_trains_and_what_decays_are_the_methods(prepared):
    _, encoder, _, work = prepared
    trained = {name: one for name, one in work.model.named_parameters() if one.requires_grad}
    assert {id(one) for one in trained.values()} == {id(one) for one in encoder.parameters() if one.requires_grad}
    assert work.no_decay == {name for name, one in trained.items() if one is encoder.log_scale}


@pytest.mark.parametrize("mode", ["distinct", "all", "images"])
def test_pairs_are_those_of_training_on_images(captions, mode):
    train = read_captions(captions, split="train")
    pairs = FeaturePairs(train, mode=mode, seed=3)
    assert len(pairs) == len(pairs.pairing)
    for index in range(len(pairs)):
        image, text = pairs[(1, index)]
        assert pairs.pairing.wording[text].casefold() in [one.casefold() for one in train.samples[image].captions]
    if mode == "images":
        assert len({pairs[(epoch, 0)] for epoch in range(20)}) > 1


def test_features_are_rows_in_the_order_of_the_data(prepared):
    data, _, ready, _ = prepared
    plain = encoders.load("tiny")
    batch = ready.pairs.collate([(2, 1), (0, 3)])
    images = plain.embed_images([read_image(data.train.path(data.train.samples[i])) for i in (2, 0)])
    texts = plain.embed_texts([ready.pairs.pairing.wording[i] for i in (1, 3)])
    np.testing.assert_allclose(batch["inputs"]["image_features"], images, atol=1e-6)
    np.testing.assert_allclose(batch["inputs"]["text_features"], texts, atol=1e-6)


def test_it_is_said_that_nothing_is_augmented(prepared, capsys):
    data, encoder, ready, _ = prepared
    FeatureTraining(ready.config, data, encoder, TrainingConfig(), seed=0)
    assert "computed once; training.augmentation is not used" in capsys.readouterr().err


def test_other_phases_are_refused(prepared):
    with pytest.raises(ValueError, match="phase 'train' does not train on features"):
        prepared[2].work(Phase("train"), frozenset())
