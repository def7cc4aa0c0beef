"""Draw docs/images/serve*.png: the search page over the demo's archive, in headless Chromium.

    python scripts/serve_screenshots.py runs/demo/search/archive.index [--out docs/images]

Needs the extra web-test, and Chromium on the path.
"""

import argparse
import shutil
import socket
import threading
from pathlib import Path
from urllib.parse import quote

from PIL import Image

WEBGL = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
PICTURES = {  # name: width, height, colours, search, whether a result is chosen
    "serve": (1280, 800, "light", "q=white ships are moored at a concrete quay&k=12", False),
    "serve_dark": (1280, 800, "dark", "q=houses with red roofs in a residential area&k=12", True),
    "serve_phone": (390, 844, "light", "q=white storage tanks with grass around&k=12", False),
}
_WAIT = 120_000  # milliseconds: WebGL without a graphics card


def main() -> None:
    """Serve the index and photograph its page."""
    import uvicorn
    from playwright.sync_api import sync_playwright

    from eotune.search.server.app import create_app

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with socket.create_server(("127.0.0.1", 0)) as opened, sync_playwright() as started:
        server = uvicorn.Server(uvicorn.Config(create_app(options.index), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        browser = started.chromium.launch(executable_path=chromium, args=WEBGL)
        for name, (width, height, colours, search, chosen) in PICTURES.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
            page.set_default_timeout(_WAIT)
            page.goto(f"http://127.0.0.1:{opened.getsockname()[1]}/#{quote(search, safe='=&')}")
            page.wait_for_selector("body[data-ready]")
            page.wait_for_selector(".card img")
            if chosen:
                page.click(".card")
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(4000)  # the map flies to what was found
            path = options.out / f"{name}.png"
            page.screenshot(path=path)
            with Image.open(path) as picture:
                small = picture.convert("RGB").quantize(256)
            small.save(path, optimize=True)
            page.close()
        browser.close()
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
