import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stage_workers import Hashes, Unwilling, contents

from eotune.core.errors import EotuneError
from eotune.engines.by_name import engine
from eotune.engines.shards import RowFailure, row_failures
from eotune.engines.stages import map_shards

TWO = engine("local", workers=2)


def test_a_worker_killed_in_the_middle_is_replaced(made, undisturbed, tmp_path):
    source, stage = made
    settings = {"log": str(tmp_path / "log"), "dies_once_at": "s0042"}
    assert map_shards(TWO, Hashes, settings, source, stage).failed == 0
    assert contents(stage.out) == undisturbed
    calls = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    processes = [process for process, first, _ in calls if first == "s0040"]
    assert len({*processes}) == 2
    assert sorted(first for _, first, _ in calls) == sorted([*(f"s{row:04d}" for row in range(0, 100, 10)), "s0040"])


def test_a_row_that_kills_its_worker_is_reported(made):
    source, stage = made
    result = map_shards(TWO, Hashes, {"dies_at": "s0042"}, source, stage)
    assert (result.rows, result.failed) == (100, 1)
    assert list(row_failures(stage.out)) == [
        RowFailure("s0042", "its worker was killed, most often for want of memory")
    ]


def test_workers_that_die_at_once_are_given_up(made):
    source, stage = made
    with pytest.raises(EotuneError, match=r"embed: a worker cannot be started: its worker was killed.*fewer workers"):
        map_shards(TWO, Unwilling, "dies", source, stage)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from stage_workers import Hashes
from eotune.engines.by_name import engine
from eotune.engines.stages import Stage, map_shards

class Waits(Hashes):
    def __call__(self, table):
        print(os.getpid(), flush=True)
        open(self.settings["never"]).read()  # a pipe with a name that nobody writes to

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a job in the background inherits is to ignore it
    source, out, never = sys.argv[1:]
    map_shards(engine("local", workers=2), Waits, {"never": never}, Path(source), Stage("embed", Path(out)))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_go_with_their_parent(made, tmp_path, number):
    source, stage = made
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    os.mkfifo(tmp_path / "never")
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, str(script), str(source), str(stage.out), str(tmp_path / "never")],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        parent.stdout.readline()
        parent.stdout.readline()  # both are at work
        parent.send_signal(number)
        # The pipe ends when the last process that holds it does.
        assert parent.stdout.read() == ""
        assert parent.wait() != 0
