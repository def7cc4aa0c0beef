import signal

import pytest
import torch

from eotune.core.errors import InputError, InterruptedRunError
from eotune.training import fit as module
from eotune.training.callbacks import DivergedError
from eotune.training.config import TrainingConfig
from eotune.training.fit import fit
from eotune.training.trainer import COMPLETE, PhaseTrainer, last_checkpoint, trained_state

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
    ("changes", "killed"),
    [
        ({"checkpoint_every": 4}, ("evaluation", 2)),  # as often as evaluations: the first one is the checkpoint's
        ({"checkpoint_every": None}, ("evaluation", 3)),
        ({"checkpoint_every": 1}, ("evaluation", 4)),  # the last thing of all
        ({"checkpoint_every": 4, "max_steps": 6}, ("done", 1)),  # in an epoch
        ({"checkpoint_every": 4, "patience": 2, "epochs": 30, "learning_rate": 1e-12}, ("evaluation", 2)),
        ({"checkpoint_every": 4, "patience": 2, "epochs": 30, "learning_rate": 1e-12}, ("done", 1)),
    ],
)
def test_a_run_killed_at_its_seams_ends_at_the_same_bits(toy, toy_work, tmp_path, monkeypatch, changes, killed):
    config = CONFIG.model_copy(update=changes)
    whole, expected, events = run(toy, toy_work, tmp_path / "whole", config=config, dropout=0.0)
    calls = []

    def broken(kind, real):
        def watched(*arguments, **options):
            calls.append(kind)
            if (kind, calls.count(kind)) == killed:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return watched

    with monkeypatch.context() as patch:
        patch.setattr(PhaseTrainer, "evaluate", broken("evaluation", PhaseTrainer.evaluate))
        patch.setattr(module, "write_json", broken("done", module.write_json))
        with pytest.raises(KeyboardInterrupt):
            run(toy, toy_work, tmp_path / "broken", config=config, dropout=0.0)
    resumed, result, more = run(toy, toy_work, tmp_path / "broken", config=config, resume=True, dropout=0.0)
    assert (result.best_metric, result.best_step, result.steps) == (
        expected.best_metric, expected.best_step, expected.steps,
    )  # fmt: skip
    undisturbed = [_plain(event) for event in events]
    assert all(_plain(event) in undisturbed for event in more)
    for name, value in trained_state(whole).items():
        assert torch.equal(value, trained_state(resumed)[name]), name


def _plain(event):
    return event[0], {name: value for name, value in event[1].items() if name != "samples_per_second"}


def test_a_run_that_is_stopped_is_not_evaluated_inside_an_epoch(toy, toy_work, tmp_path):
    with pytest.raises(InterruptedRunError):
        run(toy, toy_work, tmp_path, break_at=6)
    _, _, events = run(toy, toy_work, tmp_path, resume=True)
    assert [fields["step"] for event, fields in events if event == "evaluation"] == [8, 12, 16]


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
