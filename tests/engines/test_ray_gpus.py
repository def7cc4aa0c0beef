"""GPUs that a Ray cluster gives to workers; Ray counts what it is told, so that none need be there."""

import os
from pathlib import Path

import pytest
from stage_workers import Hashes

from eotune.core.errors import InputError
from eotune.engines.base import Piece
from eotune.search.workers import EmbedTiles

ray = pytest.importorskip("ray", reason="needs the ray extra")
from eotune.engines.ray import RayEngine  # noqa: E402 - needs Ray

# Ray's own, on its way in and out.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")]


class Sees(Hashes):
    """Notes the GPUs that it may use."""

    def __call__(self, table):
        with Path(self.settings["seen"]).open("a") as stream:
            stream.write(f"{table['id'][0]} {os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}\n")
        return super().__call__(table)


class Model(Sees):
    runs_model = True


class NoModel(Sees):
    runs_model = False


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Three cores, and two GPUs that are not there; workers are found as an installed package's are."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        ray.init(num_cpus=3, num_gpus=2, object_store_memory=2**27, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def seen_by(engine, worker, folder):
    """Return how many workers there are, and the GPUs that each of those that answered saw."""
    from stage_workers import samples

    with engine.pool(worker, {"seen": str(folder / "seen")}, at_most=10) as pool:
        for shard in range(pool.capacity):
            pool.submit(Piece(shard, 0, samples(1, start=shard)))
        for _ in range(pool.capacity):
            pool.wait()
        count = pool.capacity
    return count, {line.partition(" ")[2] for line in (folder / "seen").read_text().splitlines()}


@pytest.mark.parametrize(
    ("asked", "worker", "count", "sees"),
    [
        ({}, Model, 2, {"0", "1"}),  # one each, as many as there are
        ({}, NoModel, 3, {""}),
        ({}, Sees, 3, {""}),
        ({"gpus": 1}, Sees, 2, {"0", "1"}),
        ({"gpus": 1}, NoModel, 3, {""}),
        ({"gpus": 2}, Model, 1, {"0,1"}),
        ({"gpus": 0}, Model, 3, {""}),
        ({"gpus": 0.5}, Model, 3, {"0", "1"}),  # four, and three cores
        ({"cpus": 2}, Model, 1, {"0", "1"}),
    ],
)
def test_each_worker_that_runs_a_model_has_a_gpu(asked, worker, count, sees, tmp_path):
    found, seen = seen_by(RayEngine(**asked), worker, tmp_path)
    assert found == count
    assert seen
    assert seen <= sees


def test_amounts_that_ray_does_not_give_are_refused():
    assert EmbedTiles.runs_model
    for asked in ({"gpus": 1.5}, {"gpus": -1}, {"cpus": -1}):
        with pytest.raises(InputError, match="a whole number, or a share below 1"):
            RayEngine(**asked)
    with pytest.raises(InputError, match="a worker asks for 1 CPU, 4 GPU, the Ray cluster has 3 CPU, 2 GPU"):
        RayEngine(gpus=4).room()
