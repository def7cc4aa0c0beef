import os
import signal
from dataclasses import replace

import pytest
import torch

from eotune.core.errors import InputError, InterruptedRunError
from eotune.training.config import TrainingConfig
from eotune.training.fit import fit
from eotune.training.processes import from_main, in_any, is_main, join_processes, wait_for_all, world_size
from eotune.training.trainer import trained_state

CONFIG = TrainingConfig(epochs=3, batch_size=8, learning_rate=1e-2, log_every=1, checkpoint_every=3, micro_batch_size=2)


def test_alone_this_process_is_the_main_one():
    join_processes()
    assert world_size() == 1
    assert is_main()
    assert from_main({"mR": 1.0}) == {"mR": 1.0}
    assert [in_any(flag) for flag in (True, False)] == [True, False]
    wait_for_all()


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_stop_together(toy, toy_work, tmp_path):
    """Process 1 alone is interrupted: both stop at that step, and both go on to the numbers of a whole run.

    Batches that come in parts, with more to count in some samples than in others, weigh each sample alike there too.
    """
    model = _trained(toy, toy_work, tmp_path / "one")
    in_parts = _trained(toy, _InParts(toy_work), tmp_path / "in_parts")
    torch.multiprocessing.spawn(_process, args=(tmp_path, toy, toy_work), nprocs=2)
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert result["stopped"] == "interrupted at step 5 of 15; go on with --resume"
        for name, expected in trained_state(model).items():
            torch.testing.assert_close(result["whole"][name], expected, rtol=1e-4, atol=1e-5)
            assert torch.equal(result["resumed"][name], result["whole"][name]), name
        for name, expected in trained_state(in_parts).items():
            torch.testing.assert_close(result["in_parts"][name], expected, rtol=1e-4, atol=1e-5)


class _InParts:
    """The toy's work with a loss that is divided by a count of the whole batch, which no two processes share."""

    def __init__(self, toy_work):
        self.toy_work = toy_work

    def __call__(self, model):
        return replace(self.toy_work(model), collate=self.collate, loss=self.loss)

    @staticmethod
    def collate(samples):
        counts = [1 if a[0] < 0 else 9 for a, _ in samples]
        whole = torch.tensor(sum(counts))
        return [
            {"inputs": {"a": a[None], "b": b[None]}, "targets": {"mine": torch.tensor(n), "count": whole}}
            for (a, b), n in zip(samples, counts, strict=True)
        ]

    @staticmethod
    def loss(output, targets):
        errors = (output.left[:, :3] - output.right[:, :3]).square().sum() * output.scale
        return errors * targets["mine"] / targets["count"]


def _trained(toy, toy_work, directory, *, log=None, resume=False):
    model = toy()
    torch.manual_seed(3)
    silent = lambda *_, **__: None  # noqa: E731 - as short as what it stands for
    fit(model, toy_work(model), CONFIG, directory=directory, seed=5, log=log or silent, resume=resume)
    return model


def _process(rank, folder, toy, toy_work):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT="0")
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    assert (world_size(), is_main(), from_main(rank), in_any(rank == 1)) == (2, rank == 0, 0, True)
    whole = _trained(toy, toy_work, folder / "whole")

    def interrupting(event, **fields):
        if rank == 1 and event == "step" and fields["step"] == 4:  # logged at the end of 4, so seen at that of 5
            signal.raise_signal(signal.SIGINT)

    try:
        _trained(toy, toy_work, folder / "broken", log=interrupting)
    except InterruptedRunError as error:
        stopped = str(error)
    resumed = _trained(toy, toy_work, folder / "broken", resume=True)
    in_parts = _trained(toy, _InParts(toy_work), folder / "in_parts_of_two")
    models = {"whole": whole, "resumed": resumed, "in_parts": in_parts}
    states = {name: trained_state(model) for name, model in models.items()}
    torch.save({**states, "stopped": stopped}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_a_batch_that_processes_cannot_share_is_refused(toy, toy_work, tmp_path, monkeypatch):
    monkeypatch.setattr("eotune.training.fit.world_size", lambda: 3)
    model = toy()
    with pytest.raises(InputError, match="batch_size 8 cannot be shared by 3 processes alike; take a multiple"):
        fit(model, toy_work(model), CONFIG, directory=tmp_path / "a", seed=5, log=print, resume=False)
    assert not (tmp_path / "a").exists()
