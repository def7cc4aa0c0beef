import asyncio
import json

import pytest
from starlette.testclient import TestClient

from eotune.search.server.guard import Guard, security_headers
from eotune.search.server.limits import ServerLimits
from eotune.search.server.session import COOKIE, Session

TOKEN = "a token of enough letters"


@pytest.fixture(scope="module")
def locked(client):
    return client(token=TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "[::1]:8000", "192.168.0.7:80"])
def test_addresses_and_localhost_are_ours(locked, host):
    assert locked.get("/healthz", headers={"host": host, "authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", "[", "127.0.0.1.nip.io"]
)
def test_a_name_that_points_here_is_refused(locked, host):
    answer = locked.get("/healthz", headers={"host": host, "authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, list(answer.json())) == (403, ["error"])


def test_a_name_may_be_allowed(client):
    allowed = client(hosts=["maps.example"])
    assert allowed.get("/healthz", headers={"host": "Maps.Example:8000"}).status_code == 200


def test_pages_of_other_sites_are_refused(locked):
    headers = {"authorization": f"Bearer {TOKEN}"}
    for origin, status in {"http://127.0.0.1": 200, "http://evil.example": 403, "null": 403}.items():
        assert locked.get("/healthz", headers={**headers, "origin": origin}).status_code == status


def test_with_a_token_nothing_answers_without_it(locked):
    schema = locked.get("/api/openapi.json", headers={"authorization": f"Bearer {TOKEN}"}).json()
    paths = [*schema["paths"], "/", "/page/index.html", "/api/openapi.json", "/login", "/nothing", "/docs"]
    for path in paths:
        for method in ("get", "post", "put", "head", "options"):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"},
                            {"cookie": f"{COOKIE}={TOKEN}"}, {"cookie": "; ;=="}):  # fmt: skip
                answer = getattr(locked, method)(path.replace("{id}", "0"), headers=headers)
                assert answer.status_code == 401, (method, path)
                assert method == "head" or path == "/login" or list(answer.json()) == ["error"]
    assert locked.get("/?token=" + TOKEN).status_code == 401


def test_a_browser_gets_a_form_and_then_a_cookie(client):
    browser = client(token=TOKEN)
    page = browser.get("/", headers={"accept": "text/html,*/*"})
    assert page.status_code == 401
    assert "<form" in page.text
    assert "script" not in page.headers["content-security-policy"]
    wrong = browser.post("/login", data={"token": "wrong"})
    assert (wrong.status_code, "not the token" in wrong.text) == (401, True)
    right = browser.post("/login", data={"token": f" {TOKEN} "}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert browser.get("/").status_code == 200
    assert browser.get("/api/index").json()["tiles"] == 8
    assert client(token=TOKEN).get("/", headers={"cookie": cookie.partition(";")[0]}).status_code == 401


def test_every_answer_confines_the_page(client):
    plain = client(tiles_url="https://tile.example:8443/{z}/{x}/{y}.png")
    for path in ("/", "/api/index", "/nothing", "/api/thumbnail/0"):
        headers = plain.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["connect-src"] == "'self' https://tile.example:8443"
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert "http" not in security_headers(None)["content-security-policy"]


def guarded(app, **limits):
    return Guard(app, limits=ServerLimits(**limits), session=Session(None), hosts=["testserver"], headers={})


async def call(app, receive, path="/"):
    """Return what an application answers, as status and JSON."""
    sent = []
    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"host", b"testserver")], "scheme": "http"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def reading(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def test_a_body_that_does_not_come_is_not_waited_for():
    async def silent():
        await asyncio.Event().wait()

    status, answer = asyncio.run(call(guarded(reading, body_seconds=0.01), silent))
    assert (status, answer) == (408, {"error": "the body did not come in time"})


def test_so_many_requests_and_no_more():
    async def several():
        go = asyncio.Event()

        async def late():
            await go.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        app = guarded(reading, connections=2)
        first = [asyncio.ensure_future(call(app, late)) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await call(app, late)
        go.set()
        return refused, [status for status, _ in await asyncio.gather(*first)], await call(app, late)

    (status, _), first, after = asyncio.run(several())
    assert (status, first, after[0]) == (503, [200, 200], 200)


def test_a_length_that_is_no_number():
    connected = TestClient(guarded(reading), raise_server_exceptions=False)
    for length, status in {"-1": 400, "1e3": 400, "9" * 30: 413, "2": 200}.items():
        assert connected.post("/", content=b"{}", headers={"content-length": length}).status_code == status
