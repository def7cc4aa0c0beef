"""The page in headless Chromium, against a server on loopback: `make test-web`."""

import json
import shutil
import socket
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-web")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of playwright's own pipes
]
WAIT = 60_000  # milliseconds: WebGL without a graphics card on a busy machine
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SOFTWARE_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@pytest.fixture(scope="module")
def address(places):
    """A server of the small archive; its address."""
    import uvicorn

    from eotune.search.server.app import create_app

    with socket.create_server(("127.0.0.1", 0)) as opened:
        server = uvicorn.Server(uvicorn.Config(create_app(places), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        yield f"http://127.0.0.1:{opened.getsockname()[1]}/"
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture(scope="module")
def launch():
    """Return a function that starts Chromium."""
    with playwright.sync_playwright() as started:
        yield lambda *arguments: started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])


@pytest.fixture(scope="module")
def chromium(launch):
    browser = launch(*SOFTWARE_WEBGL)
    yield browser
    browser.close()


@pytest.fixture
def open_page(chromium, address):
    """Return a function that opens the page; whatever it asks elsewhere or complains of fails the test.

    Software WebGL's complaint of its own slowness is expected.
    """
    complaints, contexts = [], []

    def go(hash="", size="desktop", scheme="light", expected="GPU stall"):  # noqa: A002
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=size == "phone",
            is_mobile=size == "phone",
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on(
            "console",
            lambda said: (
                said.type in ("error", "warning") and expected not in said.text and complaints.append(said.text)
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda one: outside(one.url, address) and complaints.append(f"asks {one.url}"))
        page.goto(address + hash)
        page.wait_for_selector("body[data-ready]")
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def outside(url, address):
    return not url.startswith((address, "blob:", "data:"))


def ids(page):
    return page.eval_on_selector_all(".card", "cards => cards.map(card => Number(card.dataset.id))")


def until(page, expression, arg=None):
    """Wait until an expression is true: wait_for_function would want the unsafe-eval that the page forbids."""
    for _ in range(WAIT // 50):
        if page.evaluate(f"arg => {expression}", arg):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never became true: {expression}")


def search(page, text):
    page.fill("#text", text)
    with page.expect_response("**/api/search") as answer:
        page.keyboard.press("Enter")
    hits = answer.value.json()["hits"]
    shown = "JSON.stringify([...document.querySelectorAll('.card')].map(card => Number(card.dataset.id)))"
    until(page, f"{shown} == JSON.stringify(arg)", [hit["id"] for hit in hits])
    return hits


def hash_of(page):
    return parse_qs(urlsplit(page.url).fragment)


def draw_box(page):
    """Drag over the middle of the map."""
    area = page.locator("#map").bounding_box()
    x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    page.mouse.move(x - 60, y - 50)
    page.mouse.down()
    page.mouse.move(x + 60, y + 50, steps=3)
    page.mouse.up()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_search_box_and_more_like_this(open_page, size, scheme):
    page = open_page(size=size, scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.shade") == scheme
    assert page.locator("canvas.maplibregl-canvas").count() == 1
    hits = search(page, "a red field")
    placed = [hit for hit in hits if hit["footprint"]]
    assert 0 < len(placed) < len(hits)
    assert page.locator(".pin").count() == len(placed)
    until(page, "[...document.querySelectorAll('.card img')].filter(i => i.complete && i.naturalWidth).length > 2")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out

    page.click("#filters summary")
    page.click("#draw")
    assert page.locator("#pad").is_visible()
    with page.expect_response("**/api/search") as answer:
        draw_box(page)
    west, south, east, north = answer.value.request.post_data_json["bbox"]
    assert south < north
    assert west != east
    until(page, "document.querySelector('#bbox').value")
    assert "bbox" in hash_of(page)
    page.click("#unbox")
    until(page, "document.querySelectorAll('.card').length == arg", arg=len(hits))

    page.click("#filters summary")
    first = ids(page)[0]
    page.click(f".card[data-id='{first}']")
    with page.expect_response("**/api/search") as answer:
        page.click("#detail >> text=More like this")
    assert answer.value.request.post_data_json["like"] == first
    until(page, "!document.querySelector(`.card[data-id='${arg}']`)", arg=first)
    assert hash_of(page)["like"] == [str(first)]
    page.go_back()
    until(page, "document.querySelector(`.card[data-id='${arg}']`)", arg=first)
    assert page.input_value("#text") == "a red field"


def test_the_keyboard_does_it_all(open_page):
    page = open_page()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("a field")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card")
    order = ids(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    focused = "Number(document.activeElement.dataset.id)"
    assert page.evaluate(focused) == order[1]
    columns = page.evaluate("getComputedStyle(document.querySelector('#list')).gridTemplateColumns.split(' ').length")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == order[1 + columns]
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.locator("#detail").is_visible()
    assert page.locator(".card[aria-current]").count() == 1
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    page.click("#filters summary")
    page.fill("#bbox", "179, -20, -179, -10")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.card').length == 1")
    page.fill("#bbox", "1, 2, 3")
    page.keyboard.press("Enter")
    assert "four numbers" in page.inner_text("#bbox-error")


def test_list_and_map_follow_each_other(open_page):
    page = open_page("#q=a%20field")
    page.wait_for_selector(".pin")
    pin = page.locator(".pin").last  # the best is drawn last
    tile = pin.get_attribute("data-id")
    page.hover(f".card[data-id='{tile}']")
    until(page, "document.querySelector(`.pin[data-id='${arg}']`).hasAttribute('data-on')", arg=tile)
    page.mouse.move(5, 5)
    pin.dispatch_event("mouseenter")
    until(page, "document.querySelector(`.card[data-id='${arg}']`).hasAttribute('data-on')", arg=tile)
    pin.dispatch_event("click")
    assert page.locator(".card[aria-current]").get_attribute("data-id") == tile
    assert hash_of(page)["tile"] == [tile]


def test_a_search_is_kept_in_the_address(open_page):
    page = open_page("#q=sea&bbox=179,-20,-179,-10&since=2020-01-01&until=2020-01-01&min=-0.9&k=3")
    assert len(ids(page)) == 1
    assert page.input_value("#bbox") == "179,-20,-179,-10"
    assert page.input_value("#since") == "2020-01-01"
    assert page.input_value("#k") == "3"
    assert page.text_content("#active") == "4"
    nothing = open_page("#q=sea&since=2031-01-01")
    assert "Nothing passes these filters" in nothing.inner_text("#empty")


def test_an_image_is_searched_by(open_page, tmp_path):
    Image.new("RGB", (40, 40), (200, 20, 20)).save(tmp_path / "example.png")
    (tmp_path / "no.png").write_text("no image")
    page = open_page()
    with page.expect_response("**/api/search/image*"):
        page.set_input_files("#file", tmp_path / "example.png")
    page.wait_for_selector(".card")
    assert "red.png" in page.inner_text(".card >> nth=0")
    assert "example.png" in page.inner_text("#chips")


def test_results_are_saved_as_geojson(open_page):
    page = open_page("#q=a%20field&k=4")
    with page.expect_download() as saved:
        page.click("#download")
    collection = json.loads(saved.value.path().read_text())
    assert [feature["id"] for feature in collection["features"]] == ids(page)
    assert {feature["type"] for feature in collection["features"]} == {"Feature"}


def test_the_theme_is_chosen_and_kept(open_page):
    page = open_page(scheme="dark")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.shade") == "light"
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("document.documentElement.dataset.shade") == "light"


def test_a_refusal_is_told(open_page):
    page = open_page(expected="net::ERR_FAILED")
    page.route("**/api/search", lambda route: route.abort())
    page.fill("#text", "a field")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#status').textContent.startsWith('The server does not answer')")
    page.unroute("**/api/search")
    assert search(page, "a field")


def test_without_webgl_the_map_is_a_plain_one(launch, address):
    browser = launch("--disable-3d-apis")
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    page.goto(address + "#q=a%20field")
    page.wait_for_selector("body[data-ready]")
    shown = page.locator("svg.plain [data-part=hits] path")
    assert shown.count() == 7
    shown.last.dispatch_event("click")
    assert page.locator("#detail").is_visible()
    browser.close()
