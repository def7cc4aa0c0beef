"""Load a real `eotune serve` on loopback: errors, latencies, memory.

    python scripts/serve_load.py INDEX [--connections 64] [--seconds 60]

Connections stay open and ask one thing after another: searches by words, by a tile and by an image with filters,
thumbnails, details, the page. The exit status is 1 where an answer was anything but 200 or the server grew by more
than 64 MiB after its first ten seconds.
"""

import argparse
import http.client
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from io import BytesIO
from urllib.parse import urlsplit

import numpy as np
import psutil
from PIL import Image

WORDS = ["storage tanks beside a river", "a dense residential area", "ships in a harbour", "бухта 港", "a runway; --"]
SETTLED = 10  # seconds until caches and threads are there
GROWTH = 64  # MiB that are allowed after that


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("index")
    arguments.add_argument("--connections", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=60)
    options = arguments.parse_args()
    command = [sys.executable, "-m", "eotune.cli.main", "serve", options.index, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        url = urlsplit(json.loads(server.stdout.readline())["url"])
        try:
            return load(server, url, options)
        finally:
            server.send_signal(signal.SIGINT)


def load(server, url, options) -> int:
    process = psutil.Process(server.pid)
    start = time.monotonic()
    end = start + options.seconds
    seconds, outcomes, lock = [], Counter(), threading.Lock()
    tiles = ask(url, "POST", "/api/search", {"text": "a", "k": 50})

    def client(seed: int) -> None:
        chance = random.Random(seed)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
        while time.monotonic() < end:
            method, path, body = request(chance, [hit["id"] for hit in tiles["hits"]])
            begin = time.monotonic()
            try:
                connection.request(method, path, body, {"content-type": "application/json"} if method == "POST" else {})
                answer = connection.getresponse()
                answer.read()
                outcome = answer.status
            except (OSError, http.client.HTTPException) as error:
                outcome = type(error).__name__
                connection.close()
            with lock:
                outcomes[outcome] += 1
                seconds.append(time.monotonic() - begin)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(options.connections)]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append((time.monotonic() - start, process.memory_info().rss / 2**20))
        time.sleep(0.25)
    settled = max((mib for when, mib in memory if when <= SETTLED), default=0)
    peak = max(mib for _, mib in memory)
    print(f"connections {options.connections}, {options.seconds:.0f} s, {len(seconds):,} requests: {dict(outcomes)}")
    print(f"seconds: p50 {np.quantile(seconds, 0.5):.3f}, p99 {np.quantile(seconds, 0.99):.3f}, max {max(seconds):.3f}")
    print(f"MiB: start {memory[0][1]:.0f}, most in {SETTLED} s {settled:.0f}, peak {peak:.0f}, end {memory[-1][1]:.0f}")
    return int(set(outcomes) != {200} or peak - settled > GROWTH)


def request(chance: random.Random, tiles: list[int]) -> tuple[str, str, bytes | None]:
    """Return method, path and body of one request."""
    kind = chance.random()
    if kind < 0.3:
        wanted = {"text": chance.choice(WORDS), "k": chance.randint(1, 50)}
        if chance.random() < 0.5:
            wanted |= {
                "bbox": [170, -60, -170, 80] if chance.random() < 0.5 else [-30, 0, 60, 70],
                "since": "2020-01-01",
            }
        return "POST", "/api/search", json.dumps(wanted).encode()
    if kind < 0.4:
        return "POST", "/api/search", json.dumps({"like": chance.choice(tiles)}).encode()
    if kind < 0.45:
        return "POST", "/api/search/image?k=5", picture(chance)
    if kind < 0.85:
        return "GET", f"/api/thumbnail/{chance.choice(tiles)}", None
    return "GET", chance.choice([f"/api/tile/{chance.choice(tiles)}", "/api/index", "/healthz", "/page/main.js"]), None


def picture(chance: random.Random) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (chance.randint(20, 900), 400), (chance.randrange(256), 90, 20)).save(stream, "PNG")
    return stream.getvalue()


def ask(url, method: str, path: str, body: dict) -> dict:
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
    connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
    found = json.load(connection.getresponse())
    connection.close()
    return found


if __name__ == "__main__":
    sys.exit(main())
