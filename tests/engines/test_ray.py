"""The Ray engine on two nodes of one machine: what it writes is what one process writes."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from stage_workers import Hashes, Unwilling, contents

from eotune.core.errors import EotuneError, InputError
from eotune.engines.by_name import engine
from eotune.engines.shards import RowFailure, row_failures
from eotune.engines.stages import map_shards

ray = pytest.importorskip("ray", reason="needs the ray extra")

# Ray's own, on its way in and out.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")]


@pytest.fixture(scope="module", autouse=True)
def workers_are_found():
    """Nodes are processes of their own, which find this folder's workers as an installed package is found."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        yield


class Nodes(Hashes):
    """Notes which node each call was on; the two workers wait for each other before the first."""

    def __init__(self, settings):
        super().__init__(settings)
        try:
            Path(settings["meet"] + ".first").touch(exist_ok=False)
            mode = "r"
        except FileExistsError:
            mode = "w"
        with Path(settings["meet"]).open(mode):  # a pipe with a name is open when it is at both ends
            pass

    def __call__(self, table):
        with Path(self.settings["nodes"]).open("a") as stream:
            stream.write(ray.get_runtime_context().get_node_id() + "\n")
        return super().__call__(table)


@dataclass
class Losing:
    """An engine that loses a node after some answers."""

    engine: object
    lose: object
    answers: int = 3

    @contextmanager
    def pool(self, worker, config, *, at_most):
        with self.engine.pool(worker, config, at_most=at_most) as pool:
            wait = pool.wait

            def losing():
                self.answers -= 1
                if self.answers == 0:
                    self.lose()
                return wait()

            pool.wait = losing
            yield pool


def test_two_nodes_write_what_one_process_does(ray_cluster, made, undisturbed, tmp_path):
    source, stage = made
    os.mkfifo(tmp_path / "meet")
    settings = {"nodes": str(tmp_path / "nodes"), "meet": str(tmp_path / "meet")}
    result = map_shards(engine("ray"), Nodes, settings, source, stage)
    assert (result.rows, result.failed) == (100, 0)
    assert contents(stage.out) == undisturbed
    assert len({*(tmp_path / "nodes").read_text().split()}) == 2


def test_a_worker_killed_in_the_middle_changes_nothing(ray_cluster, made, undisturbed, tmp_path):
    source, stage = made
    settings = {"log": str(tmp_path / "log"), "dies_once_at": "s0042"}
    assert map_shards(engine("ray", workers=2), Hashes, settings, source, stage).failed == 0
    assert contents(stage.out) == undisturbed
    calls = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert calls.count("s0040") == 2
    assert len(calls) == 11


def test_rows_that_fail_are_reported(ray_cluster, made):
    source, stage = made
    map_shards(engine("ray", workers=2), Hashes, {"unreadable": ["s0003"], "raises_at": "s0055"}, source, stage)
    assert list(row_failures(stage.out)) == [
        RowFailure("s0003", "s0003.png: cannot be read"),
        RowFailure("s0055", "ValueError: a value of two lines"),
    ]


def test_a_row_that_kills_its_worker_is_reported(ray_cluster, made):
    source, stage = made
    map_shards(engine("ray", workers=1), Hashes, {"dies_at": "s0000"}, source, stage)
    assert list(row_failures(stage.out)) == [RowFailure("s0000", "its worker died, most often for want of memory")]


@pytest.mark.parametrize(
    ("settings", "says"), [(InputError("no such model"), "embed: no such model"), ("dies", "cannot be started")]
)
def test_a_worker_that_cannot_start_says_why(ray_cluster, made, settings, says):
    source, stage = made
    with pytest.raises(EotuneError, match=says):
        map_shards(engine("ray", workers=1), Unwilling, settings, source, stage)


def test_what_the_cluster_has_no_room_for_is_refused(ray_cluster, made):
    from eotune.engines.ray import RayEngine

    source, stage = made
    with pytest.raises(InputError, match="a worker asks for 1 CPU, 4 GPU, the Ray cluster has 2 CPU, 0 GPU"):
        map_shards(RayEngine(gpus=4), Hashes, {}, source, stage)


def test_a_node_lost_in_the_middle_changes_nothing(ray_cluster, made, undisturbed):
    source, stage = made
    extra = ray_cluster.add_node(num_cpus=1, object_store_memory=2**27)
    losing = Losing(engine("ray", workers=3), lambda: ray_cluster.remove_node(extra, allow_graceful=False))
    assert map_shards(losing, Hashes, {}, source, stage).failed == 0
    assert contents(stage.out) == undisturbed
