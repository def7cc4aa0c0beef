"""`eotune serve`: a web page and a JSON API over an indexed archive."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    index: Annotated[Path, typer.Argument(help="Folder that eotune index made.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every machine that can reach it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    token_env: Annotated[str | None, typer.Option(help="Ask for the token that this environment variable has.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Ask for the token that this file has.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name of this server beside localhost and addresses; again for more.")
    ] = None,
    tiles: Annotated[str | None, typer.Option(help="Base map: https://HOST/{z}/{x}/{y}.png; else none.")] = None,
    attribution: Annotated[str | None, typer.Option(help="What the base map wants written on it.")] = None,
    encoder: Annotated[str | None, typer.Option(help="The index's encoder, where its folder has moved.")] = None,
    max_k: Annotated[int, typer.Option(min=1, max=10_000, help="Results of one search at most.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON when the server is ready.")] = (
        False
    ),
) -> None:
    """Serve a page and a JSON API to search an indexed archive; Ctrl-C ends it."""
    import json

    from eotune.core.lookup import require
    from eotune.core.progress import say

    for package in ("fastapi", "uvicorn"):
        require(package, "web")
    from eotune.search.server.app import create_app
    from eotune.search.server.limits import ServerLimits
    from eotune.search.server.listen import is_loopback, listening, read_token, run

    token = read_token(token_env, token_file)
    with listening(host, port) as (socket, url):  # first: a port that is taken need not wait for the model
        app = create_app(
            index, encoder=encoder, limits=ServerLimits(max_k=max_k), token=token, hosts=[host, *(allow_host or ())],
            tiles_url=tiles, attribution=attribution,
        )  # fmt: skip
        if token is None and not is_loopback(host):
            say(f"warning: everybody who reaches {url} can search this archive and see its images; set --token-env")
        line = json.dumps({"url": url}) if as_json else f"{url}  (Ctrl-C ends it)"
        run(app, socket, lambda: typer.echo(line))
