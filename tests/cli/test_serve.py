import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the web extra is not installed")

TOKEN = "a-token-of-enough-letters"


@pytest.fixture
def index(tmp_path):
    from eotune.search.index import Index

    folder = tmp_path / "archive"
    folder.mkdir()
    Image.new("RGB", (32, 32), (9, 99, 9)).save(folder / "green.png")
    Index.build(folder, tmp_path / "index", encoder="tiny")
    return tmp_path / "index"


def start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "eotune.cli.main", "serve", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip


def test_it_serves_until_ctrl_c(index):
    with start(index, "--port", 0, "--json", "--token-env", "TOKEN", TOKEN=TOKEN) as process:
        url = json.loads(process.stdout.readline())["url"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}api/index")
        asked = urllib.request.Request(f"{url}api/index", headers={"authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer)["tiles"] == 1
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_everybody_may_come_in_is_a_warning(index):
    with start(index, "--port", 0, "--host", "0.0.0.0") as process:
        assert process.stdout.readline().startswith("http://0.0.0.0:")
        process.send_signal(signal.SIGINT)
        assert "set --token-env" in process.communicate(timeout=60)[1]


def test_wrong_options_are_one_line(index, tmp_path, eotune):
    from eotune.search.server.listen import listening

    with listening("127.0.0.1", 0) as (opened, _):
        taken = opened.getsockname()[1]
        for arguments, reason in {
            (index, "--port", taken): "is in use; choose another",
            (tmp_path, "--port", 0): "holds no index",
            (index, "--port", 0, "--tiles", "https://a"): "no address of map tiles",
            (index, "--port", 0, "--token-env", "NOSUCH"): "holds no token",
            (index, "--port", 0, "--encoder", "nosuch"): "nosuch",
        }.items():
            code, out, err = eotune("serve", *arguments)
            assert (code, out, err.count("\n")) == (2, "", 1), err
            assert err.startswith("error: ")
            assert reason in err
