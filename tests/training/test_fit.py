import itertools
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eotune.core.errors import InputError, InterruptedRunError
from eotune.training.callbacks import DivergedError
from eotune.training.config import TrainingConfig
from eotune.training.fit import fit
from eotune.training.trainer import COMPLETE, last_checkpoint, trained_state

CONFIG = TrainingConfig(epochs=4, batch_size=10, learning_rate=1e-2, log_every=1, checkpoint_every=3)


def run(toy, toy_work, directory, *, config=CONFIG, resume=False, break_at=None, dropout=0.3):
    """Train a toy; ``break_at`` sends Ctrl-C at that step."""
    model = toy(dropout=dropout)
    torch.manual_seed(11)
    events = []

    def log(event, **fields):
        events.append((event, fields))
        if event == "step" and fields["step"] == break_at:
            signal.raise_signal(signal.SIGINT)

    result = fit(model, toy_work(model), config, directory=directory, seed=5, log=log, resume=resume)
    return model, result, events


def test_training_moves_what_it_may_and_keeps_the_best(toy, toy_work, tmp_path):
    before = toy()
    model, result, events = run(toy, toy_work, tmp_path)
    assert torch.equal(model.frozen.weight, before.frozen.weight)
    assert not torch.equal(model.right.weight, before.right.weight)
    assert result.steps == 16
    history = [fields["metrics"]["mR"] for event, fields in events if event == "evaluation"]
    assert len(history) == 4
    assert result.best_metric == max(history)
    assert toy_work(model.eval()).evaluate()["mR"] == pytest.approx(max(history), abs=1e-6)


@pytest.mark.parametrize("micro_batch_size", [None, 4])
@pytest.mark.parametrize("break_at", [2, 7, 13])
def test_an_interrupted_run_ends_at_the_same_bits(toy, toy_work, tmp_path, break_at, micro_batch_size):
    config = CONFIG.model_copy(update={"micro_batch_size": micro_batch_size})
    whole, expected, _ = run(toy, toy_work, tmp_path / "whole", config=config)
    with pytest.raises(InterruptedRunError, match="go on with --resume"):
        run(toy, toy_work, tmp_path / "broken", config=config, break_at=break_at)
    resumed, result, _ = run(toy, toy_work, tmp_path / "broken", config=config, resume=True)
    assert result.best_metric == expected.best_metric
    assert result.best_step == expected.best_step
    for name, value in trained_state(whole).items():
        assert torch.equal(value, trained_state(resumed)[name]), name


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 2, "checkpoint_every": 2},
        {"max_steps": 6, "checkpoint_every": None},
        {"patience": 1, "epochs": 9, "learning_rate": 0.2},
        {"patience": 2, "epochs": 9, "learning_rate": 0.2},  # the count itself survives
    ],
)
def test_a_run_that_dies_at_any_write_ends_at_the_same_bits(toy, toy_work, tmp_path, monkeypatch, changes):
    config = CONFIG.model_copy(update=changes)
    whole, expected, _ = run(toy, toy_work, tmp_path / "whole", config=config)
    left = []

    class Died(BaseException):
        pass

    def dying(real):
        def call(self, *arguments):
            if not left:
                raise Died
            left.pop()
            return real(self, *arguments)

        return call

    for name in ("replace", "touch"):
        monkeypatch.setattr(Path, name, dying(getattr(Path, name)))
    for deaths in itertools.count():
        left[:] = [None] * deaths
        try:
            run(toy, toy_work, tmp_path / f"{deaths}", config=config)
        except Died:
            left[:] = [None] * 99
            resumed, result, _ = run(toy, toy_work, tmp_path / f"{deaths}", config=config, resume=True)
            again, repeated, _ = run(toy, toy_work, tmp_path / f"{deaths}", config=config, resume=True)
            assert repeated == result
            for key in ("best_metric", "best_step", "steps"):
                assert getattr(result, key) == getattr(expected, key), (deaths, key)
            for key, value in trained_state(whole).items():
                assert torch.equal(value, trained_state(resumed)[key]), (deaths, key)
                assert torch.equal(value, trained_state(again)[key]), (deaths, key)
        else:
            break
    assert deaths > 3


@pytest.mark.parametrize("checkpoint_every", [None, 3])
@pytest.mark.parametrize(("break_at", "praised"), [(5, 6), (3, 4)])  # a step later, it stops
def test_a_signal_makes_no_candidate_for_the_best_and_misses_none(
    toy, toy_work, tmp_path, checkpoint_every, break_at, praised
):
    config = CONFIG.model_copy(update={"checkpoint_every": checkpoint_every, "epochs": 3})

    def train(folder, *, resume=False, break_at=None):
        model, seen = toy(), [0]

        def log(event, **fields):
            seen[0] = fields.get("step", 0)
            if event == "step" and fields["step"] == break_at:
                signal.raise_signal(signal.SIGINT)

        work = replace(toy_work(model), evaluate=lambda: {"mR": float(seen[0] == praised)})
        return fit(model, work, config, directory=tmp_path / folder, seed=5, log=log, resume=resume)

    whole = train("whole")
    assert (whole.best_step, whole.best_metric) == (4, float(praised == 4))
    with pytest.raises(InterruptedRunError):
        train("broken", break_at=break_at)
    resumed = train("broken", resume=True)
    assert (resumed.best_step, resumed.best_metric) == (whole.best_step, whole.best_metric)


def test_a_finished_phase_is_not_done_again(toy, toy_work, tmp_path):
    first, expected, _ = run(toy, toy_work, tmp_path)
    second, result, events = run(toy, toy_work, tmp_path, resume=True)
    assert events == []
    assert result == expected
    assert torch.equal(first.right.weight, second.right.weight)


def test_a_checkpoint_cut_short_is_ignored(tmp_path):
    for step, whole in ((3, True), (6, True), (9, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / COMPLETE).touch()
    assert last_checkpoint(tmp_path).name == "checkpoint-6"
    assert not (tmp_path / "checkpoint-9").exists()
    assert last_checkpoint(tmp_path / "nowhere") is None


def test_divergence_is_told(toy, toy_work, tmp_path):
    config = CONFIG.model_copy(update={"learning_rate": 1e38, "warmup": 0.0, "max_grad_norm": 0.0})
    with pytest.raises(DivergedError, match=r"lower training\.learning_rate"):
        run(toy, toy_work, tmp_path, config=config)


def test_fewer_samples_than_a_batch(toy, toy_work, tmp_path):
    with pytest.raises(InputError, match="batch_size 64 is larger than the training set"):
        run(toy, toy_work, tmp_path, config=CONFIG.model_copy(update={"batch_size": 64}))


def test_patience_stops_early(toy, toy_work, tmp_path):
    config = CONFIG.model_copy(update={"learning_rate": 1e-12, "patience": 1, "epochs": 30})
    _, result, _ = run(toy, toy_work, tmp_path, config=config, dropout=0.0)
    assert result.steps < 30 * 4
