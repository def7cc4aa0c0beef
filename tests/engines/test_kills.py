"""kill -9 at any moment: what is resumed equals what nobody disturbed, and finished shards are not computed again."""

import contextlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stage_workers import contents

from eotune.engines.shards import shard_path

# Two stages. A third argument names the operation on a stage's files at which the process kills itself.
SHARDS = 20
OPERATIONS = 280  # a process that nobody disturbs makes about 300
SCRIPT = """
import os, signal, sys
from pathlib import Path
from stage_workers import Hashes, samples
from eotune.engines.by_name import engine
from eotune.engines.shards import read_columns
from eotune.engines.stages import Stage, map_shards, write_rows

folder, workers, left = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate"}

def count_down(event, arguments):
    global left
    if event in TOUCHES and str(arguments[0]).startswith(str(folder)) and not str(arguments[0]).endswith("log"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

class Tells(Hashes):
    def __call__(self, table):
        print("called", flush=True)
        return super().__call__(table)

if __name__ == "__main__":
    if left:
        sys.addaudithook(count_down)
    write_rows([samples(60)], Stage("samples", folder / "samples"), rows_per_shard=3)
    stage = Stage("embed", folder / "embed", {"encoder": "hash"})
    run, log = engine("local", workers=workers), {"log": str(folder / "log")}
    result = map_shards(run, Tells, log, folder / "samples", stage)
    print(sum(map(len, read_columns(stage.out, ["vector"]))), result.failed)
"""


@pytest.fixture
def start(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}

    def started(folder, *, workers=1, at_operation=0):
        arguments = [sys.executable, str(script), str(folder), str(workers), str(at_operation)]
        return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return started


@pytest.fixture
def undisturbed_run(start, tmp_path):
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    assert goes_on(start, folder) == {*range(SHARDS)}
    return folder


def finished_shards(folder):
    return {index for index in range(SHARDS) if shard_path(folder / "embed", index).is_file()}


def goes_on(start, folder):
    """Bring the stages to their end, and return the shards that were computed for that."""
    (folder / "log").unlink(missing_ok=True)
    with start(folder) as process:
        assert process.communicate()[0].splitlines()[-1] == f"{3 * SHARDS} 0"
    log = folder / "log"
    lines = log.read_text().splitlines() if log.is_file() else []
    return {int(line.split()[1].removeprefix("s")) // 3 for line in lines}


def check(start, folder, undisturbed):
    kept = finished_shards(folder)
    assert goes_on(start, folder) == {*range(SHARDS)} - kept
    for stage in ("samples", "embed"):
        assert contents(folder / stage) == contents(undisturbed / stage)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments(start, undisturbed_run, tmp_path, workers):
    draw, folder, kept, statuses = random.Random(), tmp_path / "killed", set(), []
    folder.mkdir()
    for _ in range(5):
        with start(folder, workers=workers) as process:
            for _ in range(draw.randint(1, 4)):
                process.stdout.readline()  # a shard is begun
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=draw.uniform(0, 0.005))
            process.kill()
        statuses.append(process.returncode)
        assert kept <= finished_shards(folder)
        kept = finished_shards(folder)
    assert -9 in statuses  # a machine that is too busy may let some of them through
    check(start, folder, undisturbed_run)


def test_killed_at_operations_on_files(start, undisturbed_run, tmp_path):
    draw, folder = random.Random(), tmp_path / "killed"
    for _ in range(6):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with start(folder, at_operation=draw.randint(1, OPERATIONS)) as process:
            assert process.communicate()[1] == ""
        assert process.returncode == -9
        check(start, folder, undisturbed_run)
