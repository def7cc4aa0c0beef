"""What every request passes before the application sees it, and every answer on its way out."""

import asyncio
import ipaddress
import json
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eotune.core.progress import say
from eotune.search.server.limits import ServerLimits
from eotune.search.server.session import LOGIN, LOGIN_POLICY, Session, login_page

IMAGE_SEARCH = "/api/search/image"


class Guard:
    """Refuses foreign hosts and origins, strangers, large or slow bodies, and more requests than it may hold.

    Args:
        app: The application.
        limits: Sizes and numbers.
        session: Who may ask.
        hosts: Names of this server beside ``localhost`` and its addresses. A page elsewhere whose name is made to
            point here (DNS rebinding) sends that name, and gets nothing.
        headers: What every answer has, unless it says otherwise itself: :func:`security_headers`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: ServerLimits,
        session: Session,
        hosts: Collection[str],
        headers: Mapping[str, str],
    ) -> None:
        self.app, self.limits, self.session, self.headers = app, limits, session, headers
        self.hosts = {"localhost", *(name.lower() for name in hosts)}
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)  # nothing but the start and end of the process
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._add_headers(message)
            await send(message)

        self._inside += 1
        try:
            limited = self._limited(scope, receive)
            answer = self._refusal(scope) or await self._stranger(scope, limited)
            return await (answer or self.app)(scope, limited, sending)
        except HTTPException as error:
            if not started:
                return await problem(error.status_code, error.detail)(scope, receive, sending)
            raise
        except Exception as error:  # a defect: the client learns that there is one, the terminal which
            say(f"error: {type(error).__name__} at {scope['method']} {scope['path']}: {error}")
            if not started:
                return await problem(500, "the server failed at this request")(scope, receive, sending)
            raise
        finally:
            self._inside -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        """Return why a request is refused whoever asks; None where it is not."""
        headers = Headers(scope=scope)
        if self._inside > self.limits.connections:
            return busy()
        host = headers.get("host", "")
        if not self._is_ours(host):
            return problem(403, "the Host header names another server; start this one with --allow-host NAME")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return problem(403, "asked for by a page of another site")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return problem(400, "the Content-Length header is no number")
        if int(length[:20]) > self._most(scope):
            return _too_large(self._most(scope))
        return None

    async def _stranger(self, scope: Scope, receive: Receive) -> Response | None:
        """Return what one gets who shows no token: a form where a browser asks for a page; None for the others."""
        headers, path = Headers(scope=scope), scope["path"]
        if self.session.wanted and path == LOGIN and scope["method"] == "POST":
            body = await Request(scope, receive).body()
            cookie = self.session.cookie_for(body, secure=scope.get("scheme") == "https")
            if cookie is None:
                return _login(wrong=True)
            return RedirectResponse("/", 303, {"set-cookie": cookie})
        if self.session.admits(headers.get("authorization", ""), headers.get("cookie", "")):
            return None
        if scope["method"] == "GET" and path in ("/", LOGIN) and "text/html" in headers.get("accept", ""):
            return _login(wrong=False)
        return problem(401, "a token is needed: Authorization: Bearer ...", {"www-authenticate": "Bearer"})

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)  # an address cannot be rebound
        except ValueError:
            return False
        return True

    def _most(self, scope: Scope) -> int:
        return self.limits.max_image_bytes if scope["path"] == IMAGE_SEARCH else self.limits.max_body_bytes

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Return ``receive`` that counts a body while it comes, whatever its header said."""
        most, taken, complete = self._most(scope), 0, False
        deadline = asyncio.get_running_loop().time() + self.limits.body_seconds

        async def receiving() -> Message:
            nonlocal taken, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body did not come in time") from None
            taken += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if taken > most:
                raise HTTPException(413, f"the body is larger than {most:,} bytes")
            return message

        return receiving

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in self.headers.items():
            headers.setdefault(name, value)
        if message["status"] in (408, 413):
            headers["connection"] = "close"  # the rest of the body is not waited for


def security_headers(tiles_url: str | None) -> dict[str, str]:
    """Return headers that confine the page to this server, and to the base map's where there is one."""
    tiles = "" if tiles_url is None else " {0.scheme}://{0.netloc}".format(urlsplit(tiles_url))
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "worker-src": "'self'",
        "style-src": "'self'",
        "img-src": f"'self' data: blob:{tiles}",  # data: MapLibre's icons; blob: the picture searched by
        "connect-src": f"'self'{tiles}",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        # Servers of tiles want to know which site asks; nobody else learns anything.
        "referrer-policy": "strict-origin" if tiles else "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "cache-control": "no-store",
    }


def problem(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    """Return a refusal as JSON."""
    return Response(json.dumps({"error": reason}), status, headers, "application/json")


def busy() -> Response:
    """Return that there is too much to do at the moment."""
    return JSONResponse({"error": "too many requests at once; try again in a moment"}, 503, {"retry-after": "1"})


def _too_large(most: int) -> Response:
    return problem(413, f"the body is larger than {most:,} bytes")


def _login(wrong: bool) -> Response:
    return HTMLResponse(login_page(wrong), 401, {"content-security-policy": LOGIN_POLICY})
