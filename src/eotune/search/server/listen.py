"""From an application to a running server: its address, its token, its end."""

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError

_BACKLOG = 512
_LEAST_TOKEN = 16


@contextmanager
def listening(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """Bind an address and yield its socket and URL; clients may connect from now on, and wait.

    Raises:
        InputError: The port is taken or not allowed, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen(_BACKLOG)
            name = f"[{host}]" if ":" in host else host
            yield opened, f"http://{name}:{opened.getsockname()[1]}/"
    except socket.gaierror:
        raise InputError(
            f"--host {host}: is no address", remedy="give 127.0.0.1 or an address of this machine"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"--port {port}: is in use", remedy="choose another, or 0 for any") from None
        if error.errno in (errno.EACCES, errno.EADDRNOTAVAIL):
            raise InputError(f"--host {host} --port {port}: {error.strerror}", remedy="choose another") from None
        raise


def run(app: Any, opened: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that are being answered are finished.

    Args:
        app: The application.
        opened: What it listens on.
        ready: Called once it answers, and a signal ends it in order.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            ready()

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=5,
    )  # fmt: skip
    with suppress(KeyboardInterrupt):  # uvicorn hands it on when it is done
        Server(config).run(sockets=[opened])


def read_token(variable: str | None, file: Path | None) -> str | None:
    """Return the token that clients have to show; None where neither names one.

    Raises:
        InputError: Both do, or it is missing or too short.
    """
    if variable is None and file is None:
        return None
    if variable is not None and file is not None:
        raise InputError("--token-env and --token-file are both given", remedy="give one")
    if file is not None:
        where = f"--token-file {file}"
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{where}: cannot be read ({error})", remedy="check the path") from None
    else:
        where = f"--token-env {variable}"
        token = os.environ.get(variable or "", "").strip()
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable():
        raise InputError(
            f"{where}: holds no token of {_LEAST_TOKEN} letters or more",
            remedy="make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return token


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address.

    Example:
        >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
