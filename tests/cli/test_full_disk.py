"""A disk that fills up while a run writes. Stood in for by the system's limit on file sizes, lowered at one moment."""

import resource

import pytest

from eotune.runs import execute, measure, retrieval_job
from eotune.training.trainer import PhaseTrainer

METHOD = {"name": "harma", "bottleneck": 16}
TRAINING = {"batch_size": 8, "max_steps": 6, "log_every": 1, "checkpoint_every": 2}

# The call that finds the disk full, the file that is named, the checkpoints that are left.
CASES = {
    "first checkpoint": ((PhaseTrainer, "_save_checkpoint", 1), "checkpoints/train/checkpoint-2", []),
    "second checkpoint": ((PhaseTrainer, "_save_checkpoint", 2), "checkpoints/train/checkpoint-4", [2]),
    "best weights": ((PhaseTrainer, "_determine_best_metric", 1), "checkpoints/train/best.trained.safetensors", [2, 4]),
    "adapter": ((execute, "save_adapted", 1), "adapter/adapter.safetensors", [4, 6]),
    "embeddings": ((measure, "_write_embeddings", 1), "embeddings.npz", [4, 6]),
    "report": ((retrieval_job, "write_report", 1), "report.html", [4, 6]),
}


@pytest.fixture
def small_files():
    """Let no file grow beyond 2 KiB from the first call on; the fixture's end, or ``lift``, ends that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Limit:
        def set(self):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))

        def lift(self):
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    yield Limit()
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def whole():
    """The files of a run that nothing disturbed, made by the first test that asks."""
    return {}


def results(run):
    return {name: (run / name).read_bytes() for name in ("metrics.json", "adapter/adapter.safetensors")}


@pytest.mark.parametrize("case", CASES, ids=CASES)
def test_a_full_disk_is_named_and_costs_no_checkpoint(
    eotune, scenes, write_recipe, tmp_path, monkeypatch, small_files, whole, case
):
    recipe = write_recipe(scenes, method=METHOD, training=TRAINING)
    if not whole:
        assert eotune("run", recipe, "--out", tmp_path / "whole")[0] == 0
        whole.update(results(tmp_path / "whole"))
    (target, name, call), file, kept = CASES[case]
    real, calls = getattr(target, name), []

    def limited(*arguments, **options):
        calls.append(name)
        if len(calls) == call:
            small_files.set()
        return real(*arguments, **options)

    run = tmp_path / "run"
    monkeypatch.setattr(target, name, limited)
    code, out, err = eotune("run", recipe, "--out", run)
    small_files.lift()
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith(f"error: {run / file}: ")
    assert err.endswith("; free space there, then start again (a run with --resume)\n")
    assert sorted(int(mark.parent.name[11:]) for mark in (run / "checkpoints").rglob("complete")) == kept
    assert not list(run.rglob(".*.safetensors"))
    monkeypatch.setattr(target, name, real)
    assert eotune("run", recipe, "--out", run, "--resume")[0] == 0
    assert results(run) == whole
