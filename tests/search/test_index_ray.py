"""An index built on a Ray cluster of two nodes holds what one process puts into it."""

import numpy as np
import pytest

from eotune.engines.by_name import engine
from eotune.search.index import Index
from eotune.search.tiles import TileConfig

pytest.importorskip("ray", reason="needs the ray extra")

# Ray's own, on its way in and out.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # workers on two nodes import torch
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_builds_the_same_index(archive, tmp_path):
    tiles = TileConfig(size=50)
    local = Index.build(archive, tmp_path / "local", encoder="tiny", tiles=tiles)
    spread = Index.build(archive, tmp_path / "ray", encoder="tiny", tiles=tiles, engine=engine("ray", workers=2))

    assert spread["tiles"] == local["tiles"] > 6
    one, other = Index.open(tmp_path / "local"), Index.open(tmp_path / "ray")
    red = np.full((48, 48, 3), (200, 20, 20), np.uint8)
    mine, theirs = one.search(image=red, k=20), other.search(image=red, k=20)
    assert [(hit.path, hit.window) for hit in mine] == [(hit.path, hit.window) for hit in theirs]
    # A worker of Ray computes in one thread, a process alone in many: some processors round differently then.
    assert [hit.score for hit in mine] == pytest.approx([hit.score for hit in theirs], abs=1e-5)
