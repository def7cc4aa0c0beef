import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for stage_workers, which other processes import by name too


@pytest.fixture
def made(tmp_path):
    """A finished first stage of 100 rows in 10 shards, and a stage to compute from it."""
    from stage_workers import samples

    from eotune.engines.stages import Stage, write_rows

    write_rows([samples(100)], Stage("samples", tmp_path / "samples"), rows_per_shard=10)
    return tmp_path / "samples", Stage("embed", tmp_path / "embed", {"encoder": "hash"})


@pytest.fixture
def undisturbed(made, tmp_path):
    """The files of the stage as a process that nothing happens to writes them."""
    from dataclasses import replace

    from stage_workers import Hashes, contents

    from eotune.engines.by_name import engine
    from eotune.engines.stages import map_shards

    source, stage = made
    map_shards(engine("local"), Hashes, {}, source, replace(stage, out=tmp_path / "undisturbed"))
    return contents(tmp_path / "undisturbed")
