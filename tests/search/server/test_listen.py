import socket

import pytest

from eotune.core.errors import InputError
from eotune.search.server.listen import listening, read_token


def test_a_port_that_is_taken_is_named():
    with listening("127.0.0.1", 0) as (opened, url):
        port = opened.getsockname()[1]
        assert url == f"http://127.0.0.1:{port}/"
        with pytest.raises(InputError, match=f"--port {port}: is in use; choose another"), listening("127.0.0.1", port):
            pass


def test_clients_may_connect_before_anybody_answers():
    with listening("127.0.0.1", 0) as (opened, _), socket.create_connection(opened.getsockname(), timeout=5) as client:
        assert client.getpeername() == opened.getsockname()


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(InputError, match="--host"), listening(host, 0):
        pass


def test_tokens(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(" 0123456789abcdef\n")
    monkeypatch.setenv("TOKEN", "fedcba9876543210")
    monkeypatch.setenv("SHORT", "secret")
    assert read_token(None, None) is None
    assert read_token(None, file) == "0123456789abcdef"
    assert read_token("TOKEN", None) == "fedcba9876543210"
    for variable, path in [
        ("SHORT", None),
        ("ABSENT", None),
        ("TOKEN", file),
        (None, tmp_path),
        (None, tmp_path / "x"),
    ]:
        with pytest.raises(InputError, match="--token") as error:
            read_token(variable, path)
        assert "secret" not in str(error.value).replace("import secrets", "").replace("secrets.", "")
