"""A selection on a Ray cluster of two nodes chooses what one process chooses."""

import os
import signal
import threading
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from eotune.data.scenes import write_dataset
from eotune.runs.select import select
from eotune.selection.config import SelectionConfig

pytest.importorskip("ray", reason="needs the ray extra")

# Ray's own, on its way in and out.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # workers on two nodes import torch
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_chooses_what_one_process_does(tmp_path):
    samples = write_dataset(tmp_path / "scenes", {"train": 1}, size=64)
    values = {"samples": samples, "encoder": "tiny", "sentence_encoder": "tiny", "clusters": 3}
    config = SelectionConfig.model_validate(values)
    local = select(config, tmp_path / "local", shard_size=10)
    whole = select(config, tmp_path / "ray", engine="ray", workers=2, shard_size=10)
    killer = threading.Thread(target=_kill_one, args=(tmp_path / "killed" / "stages" / "texts",))
    killer.start()
    again = select(config, tmp_path / "killed", engine="ray", workers=2, shard_size=10)
    killer.join()
    assert local["counts"] == whole["counts"] == again["counts"]
    expected = pq.read_table(tmp_path / "local" / "selection.parquet")
    for name in ("ray", "killed"):
        table = pq.read_table(tmp_path / name / "selection.parquet")
        assert table.drop_columns("score").equals(expected.drop_columns("score"))
        # A worker of Ray computes in one thread, a process alone in many: some processors round differently then.
        score, known = (one["score"].to_numpy() for one in (table, expected))
        np.testing.assert_allclose(score, known, atol=1e-5)
        assert (tmp_path / name / "subset.jsonl").read_bytes() == (tmp_path / "local" / "subset.jsonl").read_bytes()


def _kill_one(stage):
    """Kill a worker as soon as a stage has begun."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        workers = [
            one for one in psutil.process_iter(["cmdline"]) if "ray::_Actor" in " ".join(one.info["cmdline"] or ())
        ]
        if stage.exists() and workers:
            os.kill(workers[0].pid, signal.SIGKILL)
            return
        time.sleep(0.05)
    raise TimeoutError("no worker came up")
