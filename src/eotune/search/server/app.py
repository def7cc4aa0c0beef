"""The application: routes of the API and of the page, and what every error becomes."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from eotune.core.errors import EotuneError, InputError, shown
from eotune.search.server.archive import Archive, NoTileError
from eotune.search.server.gate import BusyError, Gate
from eotune.search.server.guard import IMAGE_SEARCH, Guard, busy, problem, security_headers
from eotune.search.server.limits import ServerLimits
from eotune.search.server.messages import Answer, Health, Place, Problem, Summary, TileId, within
from eotune.search.server.session import Session
from eotune.search.server.static import PageFile, page_files

_IMAGE = {"type": "string", "format": "binary"}
_JPEG = {"content": {"image/jpeg": {"schema": _IMAGE}}, "description": "The picture."}
_REASONS = {
    400: "The request cannot be read.",
    401: "A token is needed.",
    403: "Asked for under another name, or by another site's page.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is none of the types named.",
    422: "Something in it has no meaning.",
    500: "The server failed.",
    503: "Too many requests at once.",
}
_PATH = "The image's path is in the archive; no request names one."


def create_app(
    index: Path,
    *,
    encoder: str | None = None,
    limits: ServerLimits | None = None,
    token: str | None = None,
    hosts: Collection[str] = (),
    tiles_url: str | None = None,
    attribution: str | None = None,
) -> FastAPI:
    """Return the web application of an index.

    Args:
        index: The index's folder; a version that a build writes later is taken up between requests.
        encoder: What the index's encoder is called now, where its folder has moved.
        limits: What it takes from a client.
        token: What a client has to show; None for nothing.
        hosts: Names of the server beside ``localhost`` and addresses.
        tiles_url: Template of a base map's raster tiles, with {z}, {x} and {y}.
        attribution: What that map wants written on it.

    Raises:
        InputError: There is no index, its encoder cannot be loaded, or ``tiles_url`` is no such template.
    """
    limits = limits or ServerLimits()
    if tiles_url is not None:
        check_tiles_url(tiles_url)
    archive = Archive(index, encoder, limits)
    gate = Gate(limits.workers, limits.waiting)
    app = FastAPI(
        title="eotune search",
        version="1",
        description="Places in an archive of images, by words or by an image. " + _PATH,
        openapi_url="/api/openapi.json",
        docs_url=None,  # it would load its page from elsewhere
        redoc_url=None,
        responses={code: {"model": Problem, "description": _REASONS[code]} for code in (400, 401, 403, 503)},
    )
    _add_searches(app, archive, gate, limits)
    _add_lookups(app, archive, gate, {"tiles_url": tiles_url, "attribution": attribution, "limits": limits})
    _add_page(app, page_files())
    _add_errors(app, Path(index))
    app.add_middleware(
        Guard, limits=limits, session=Session(token), hosts=hosts, headers=security_headers(tiles_url)
    )  # fmt: skip
    return app


def check_tiles_url(url: str) -> None:
    """Refuse what is no template of tiles.

    Raises:
        InputError: It is none.

    Example:
        >>> check_tiles_url("https://tile.example/{z}/{x}/{y}.png")
    """
    parts = urlsplit(url)
    whole = parts.scheme in ("http", "https") and all(part in url for part in ("{z}", "{x}", "{y}"))
    if not whole or not parts.netloc or set(parts.netloc) & set("{}'\"; ,*"):
        raise InputError(f"--tiles {shown(url)}: no address of map tiles", remedy="give https://HOST/{z}/{x}/{y}.png")


def _add_searches(app: FastAPI, archive: Archive, gate: Gate, limits: ServerLimits) -> None:
    words, options = within(limits)

    @app.post("/api/search", responses=_problems(404, 408, 413, 422))
    async def search(wanted: words) -> Answer:  # type: ignore[valid-type]  # made for these limits
        """Find the tiles nearest to words, to a tile, or to both."""
        return await gate.run(archive.search, wanted)

    @app.post(
        IMAGE_SEARCH,
        responses=_problems(408, 413, 415, 422),
        openapi_extra={"requestBody": {"required": True, "content": {f"image/{kind}": {"schema": _IMAGE} for kind in
                                                                     ("png", "jpeg", "webp", "tiff")}}},
    )  # fmt: skip
    async def search_by_image(request: Request, wanted: Annotated[options, Query()]) -> Answer:  # type: ignore[valid-type]
        """Find the tiles nearest to an image, which is the body; with words too, to both."""
        return await gate.run(archive.search_image, await request.body(), wanted)


def _add_lookups(app: FastAPI, archive: Archive, gate: Gate, served: dict[str, Any]) -> None:
    limits: ServerLimits = served["limits"]
    told = {name: getattr(limits, name) for name in ("max_k", "max_text", "max_image_bytes", "max_image_pixels")}

    @app.get("/api/index")
    async def summary() -> Summary:
        """Tell what the index holds."""
        index, extent = await gate.run(archive.extent)
        return Summary(
            name=index.folder.name or index.folder.resolve().name,
            encoder=_short(index.manifest.encoder),
            images=extent.images,
            tiles=extent.tiles,
            bounds=None if extent.bounds is None else list(extent.bounds),
            first=extent.first,
            last=extent.last,
            generation=index.manifest.generation,
            limits=told,
            tiles_url=served["tiles_url"],
            attribution=served["attribution"],
        )

    @app.get("/api/tile/{id}", responses=_problems(404, 422))
    async def tile(id: TileId) -> Place:  # noqa: A002  # the name in the path
        """Tell all about a tile."""
        return await gate.run(archive.place, id)

    @app.get("/api/thumbnail/{id}", response_class=Response, responses={200: _JPEG, **_problems(404, 422)})
    async def thumbnail(request: Request, id: TileId) -> Response:  # noqa: A002
        """Show a tile."""
        kept = archive.kept_thumbnail(id)
        content, etag = await gate.run(archive.thumbnail, id) if kept is None else kept
        return _cached(request, content, etag, "image/jpeg")

    @app.get("/healthz")
    async def health() -> Health:
        """Tell that the server answers."""
        return Health()


def _add_page(app: FastAPI, files: dict[str, PageFile]) -> None:
    @app.get("/", include_in_schema=False)
    @app.get("/page/{name:path}", include_in_schema=False)
    async def page(request: Request, name: str = "index.html") -> Response:
        file = files.get(name)
        if file is None:
            return problem(404, "no such page")
        if "gzip" in request.headers.get("accept-encoding", ""):
            packed = {"content-encoding": "gzip", "vary": "accept-encoding"}
            return _cached(request, file.packed, f'{file.etag[:-1]}-gz"', file.media_type, packed)
        return _cached(request, file.content, file.etag, file.media_type, {"vary": "accept-encoding"})


def _add_errors(app: FastAPI, index: Path) -> None:
    async def invalid(request: Request, error: Exception) -> Response:
        del request
        entries = error.errors() if isinstance(error, RequestValidationError) else ()
        # A part of the path is named as it is called there; what was sent is not repeated.
        lines = [f"{'.'.join(map(str, entry['loc'][1:])) or entry['loc'][0]}: {entry['msg']}" for entry in entries]
        unread = any(entry["type"] == "json_invalid" for entry in entries)
        return problem(400 if unread else 422, "; ".join(lines[:5]))

    async def refused(request: Request, error: Exception) -> Response:
        del request
        return problem(
            404 if isinstance(error, NoTileError) else 422, str(error).replace(str(index), "the index")
        )  # where it lies is nobody's business

    async def http(request: Request, error: Exception) -> Response:
        del request
        if not isinstance(error, HTTPException):
            raise error
        headers = None if error.headers is None else dict(error.headers)
        return problem(error.status_code, str(error.detail).lower(), headers)

    async def full(request: Request, error: Exception) -> Response:
        del request, error
        return busy()

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(EotuneError, refused)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(BusyError, full)


def _cached(
    request: Request, content: bytes, etag: str, media_type: str, headers: dict[str, str] | None = None
) -> Response:
    """Return content, or that the client has it already."""
    told = {"etag": etag, "cache-control": "private, no-cache", **(headers or {})}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=told)
    return Response(content, headers=told, media_type=media_type)


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Problem, "description": _REASONS[code]} for code in codes}


def _short(encoder: str) -> str:
    """Return an encoder's name without the folders above its own, which are nobody's business."""
    scheme, colon, rest = encoder.partition(":")
    return f"{scheme}:{Path(rest).name}" if colon and Path(rest).is_absolute() else encoder
