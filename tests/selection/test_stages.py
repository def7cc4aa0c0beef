"""The stages of a selection on disk."""

import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pytest

from eotune.engines.stages import Stage, write_rows

FULL = shutil.which("unshare") and subprocess.run(
    ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], check=False, capture_output=True
)
SCRIPT = """
    import errno, sys
    from pathlib import Path
    from eotune.selection import stages
    from eotune.selection.config import SelectionConfig

    stages.model_mark = lambda name: None
    stages.Stages._mapped = lambda *_, **__: None
    folder = Path(sys.argv[1])
    try:
        stages.Stages(SelectionConfig(samples="a.json"), None, folder, None).vectors(2000)
    except OSError as error:
        print(errno.errorcode[error.errno], error.filename, sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.skipif(not FULL or FULL.returncode != 0, reason="needs a mount of its own: a disk that is really full")
def test_a_full_disk_is_named_where_the_embeddings_are_gathered(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((2000, 128)).astype(np.float16)  # 500 KiB, onto 256
    columns = {"id": np.arange(2000).astype(str), "position": np.arange(2000), "embedding": list(vectors)}
    write_rows([pa.table(columns)], Stage("texts", tmp_path / "texts"))
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    full = tmp_path / "full"
    full.mkdir()
    commands = (
        f"mount -t tmpfs -o size=256k none {full} && ln -s {tmp_path}/texts {full}/texts && "
        f"{sys.executable} {tmp_path}/script.py {full}"
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", commands], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"ENOSPC {full / 'vectors.npy'} ['texts']\n"), done.stderr
