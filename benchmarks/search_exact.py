"""Both stores' search against faiss IndexFlatIP, in one process, with and without filters.

    python benchmarks/search_exact.py [--rows 1000000] [--dim 512] [--queries 20] [--k 10] [--threads 2] [--json]
        [--stores exact lance faiss]

An index of synthetic tiles is written in both stores, and the same vectors as float32 into faiss. The vectors lie in
2,000 groups and queries near them, as images and what is asked of them do; vectors without groups are harder for an
index by cells than anything real. Filters are boxes that leave 50 %, 10 % and 1 % of the tiles. Every box is asked of
many times: the exact store finds what passes once, LanceDB each time, faiss is given it (IDSelectorBitmap). Our times
and LanceDB's include reading the tiles found, faiss gives numbers; faiss+ is faiss with a box that is new and our
table, and exact+ the exact store with a box that is new. The searches take turns, query by query, so that a busy
machine is busy for all. recall@k is against products in float64 of the vectors before they were rounded to float16.
Memory is what the process has gained when a store is open and has answered (maps of files included).

Targets: exact p50 of at most 150 ms on two cores at a million rows, never behind faiss; recall@10 of LanceDB of at
least 0.95 under every filter. faiss and LanceDB are left out where they are not installed.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # one library's threads do not spin in another's turn

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import shapely
import torch

from eotune.core.errors import MissingExtraError
from eotune.search.filters import Filter, make_filter
from eotune.search.store import SOURCES, Manifest, Snapshot, table_of, writing
from eotune.search.tiles import TileConfig

GROUPS, PIECE = 2000, 50_000
SHARES = (1.0, 0.5, 0.1, 0.01)
Search = Callable[[np.ndarray, float], list[int]]


def vectors(n: int, dim: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((GROUPS, dim), dtype=np.float32)
    found = centres[random.integers(0, GROUPS, n)] + random.standard_normal((n, dim), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def pieces(options: argparse.Namespace) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield longitudes and vectors of the tiles."""
    for start in range(0, options.rows, PIECE):
        n = min(PIECE, options.rows - start)
        yield np.random.default_rng(start + 1).uniform(-180, 179.99, n), vectors(n, options.dim, start + 2)


def tiles(west: np.ndarray) -> pa.Table:
    n = len(west)
    areas = shapely.box(west, 10, west + 0.01, 10.01)
    numbers = pa.array(np.zeros(n, np.int32))
    return pa.table(
        {"path": [f"{number % 100}/scene_{number // 100}.tif" for number in range(n)], "column": numbers,
         "row": numbers, "width": numbers, "height": numbers, "west": west, "south": np.full(n, 10.0),
         "east": west + 0.01, "north": np.full(n, 10.01), "time": pa.nulls(n, pa.timestamp("us", "UTC")),
         "geometry": pa.array(list(shapely.to_wkb(areas)), pa.binary())}
    )  # fmt: skip


def box(share: float, number: int = 0) -> Filter | None:
    """Return a box; others, equal but for where no tile is, by other numbers."""
    return None if share == 1 else make_filter((-180, -1e-6 * number, -180 + 360 * share, 20))


def build(folder: Path, store: str, options: argparse.Namespace) -> float:
    start = time.perf_counter()
    with writing(folder) as writer:
        writer.begin(
            Manifest(
                folder="/", encoder="-", fingerprint="-", dim=options.dim, tiles=TileConfig(), table=table_of(store)
            )
        )
        writer.commit(set(), ((tiles(west), part) for west, part in pieces(options)), SOURCES.empty_table())
    return time.perf_counter() - start


def opened(folder: Path, k: int, *, new: bool = False) -> Search:
    rows = Snapshot(folder).rows
    numbers = itertools.count() if new else itertools.repeat(0)

    def search(query: np.ndarray, share: float) -> list[int]:
        return [row["id"] for row, _ in rows.nearest(query, k, minimum=-1.0, where=box(share, next(numbers)))]

    return search


def with_faiss(options: argparse.Namespace, longitudes: np.ndarray) -> Search:
    import faiss

    faiss.omp_set_num_threads(options.threads)
    index = faiss.IndexFlatIP(options.dim)
    for _, part in pieces(options):
        index.add(part)
    bits = {share: packed(longitudes <= -180 + 360 * share) for share in SHARES}

    def search(query: np.ndarray, share: float, chosen: np.ndarray | None = None) -> list[int]:
        mask = bits[share] if chosen is None else chosen
        parameters = None if share == 1 else faiss.SearchParameters(sel=faiss.IDSelectorBitmap(mask))
        return index.search(query[None], options.k, params=parameters)[1][0].tolist()

    return search


def packed(mask: np.ndarray) -> np.ndarray:
    return np.packbits(mask, bitorder="little")


def with_table(search: Callable[..., list[int]], folder: Path) -> Search:
    rows = Snapshot(folder).rows

    def complete(query: np.ndarray, share: float) -> list[int]:
        where = box(share)
        chosen = None if where is None else packed(np.concatenate([where.rows(part) for part in rows.segments]))
        return [tile["id"] for tile in rows.tiles(np.array(search(query, share, chosen)))]

    return complete


def best(queries: np.ndarray, longitudes: np.ndarray, options: argparse.Namespace) -> dict[float, list[set[int]]]:
    """Return the ids that a product in float64 finds, of each share and query."""
    scores = np.concatenate([queries.astype(np.float64) @ part.T.astype(np.float64) for _, part in pieces(options)], 1)
    found = {}
    for share in SHARES:
        passing = np.flatnonzero(longitudes <= -180 + 360 * share)
        orders = np.argpartition(-scores[:, passing], options.k, axis=1)[:, : options.k]
        found[share] = [set(passing[order].tolist()) for order in orders]
    return found


def measured(
    searches: dict[str, Search], share: float, queries: np.ndarray, truth: list[set[int]]
) -> list[dict[str, Any]]:
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    processor: dict[str, list[float]] = {name: [] for name in searches}
    hits = dict.fromkeys(searches, 0)
    for number, query in enumerate(queries):
        for name, search in searches.items():
            start, start_processor = time.perf_counter(), time.process_time()
            found = search(query, share)
            seconds[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - start_processor)
            hits[name] += len(truth[number] & set(found))
    wanted = sum(map(len, truth))
    return [
        {"store": name, "share": share, "p50_ms": 1e3 * statistics.median(seconds[name]),
         "p99_ms": 1e3 * float(np.quantile(seconds[name], 0.99)),
         "processor_ms": 1e3 * statistics.median(processor[name]), "recall": hits[name] / wanted,
         "of_faiss": statistics.median(a / b for a, b in zip(seconds[name], seconds.get("faiss", seconds[name]),
                                                             strict=True))}
        for name in searches
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("rows", 1_000_000), ("dim", 512), ("queries", 20), ("k", 10), ("threads", 2)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--stores", nargs="+", default=["exact", "lance", "faiss"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    longitudes = np.concatenate([west for west, _ in pieces(options)])
    queries = vectors(options.queries, options.dim, 1)
    truth = best(queries, longitudes, options)
    process = psutil.Process()
    searches: dict[str, Search] = {}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        makers: dict[str, Callable[[], Search]] = {
            "exact": lambda: opened(Path(folder, "exact"), options.k),
            "lance": lambda: opened(Path(folder, "lance"), options.k),
            "faiss": lambda: with_faiss(options, longitudes),
        }
        for name, make in ((name, makers[name]) for name in options.stores):
            try:
                built = 0.0 if name == "faiss" else build(Path(folder, name), name, options)
                before = process.memory_info().rss
                searches[name] = make()
                searches[name](queries[0], 0.5)
                memory[name] = (process.memory_info().rss - before) / 2**20
            except (ImportError, MissingExtraError) as error:
                print(f"{name}: left out ({error})", file=sys.stderr)
                continue
            if name == "exact":
                searches["exact+"] = opened(Path(folder, name), options.k, new=True)
            if name == "faiss" and "exact" in searches:
                searches["faiss+"] = with_table(searches[name], Path(folder, "exact"))
            if built and not options.json:
                print(f"{name}: written in {built:.0f} s")
        results = [row for share in SHARES for row in measured(searches, share, queries, truth[share])]
    about = {"rows": options.rows, "dim": options.dim, "k": options.k, "queries": options.queries,
             "threads": options.threads, "torch": torch.__version__, "load": os.getloadavg()[0]}  # fmt: skip
    if options.json:
        print(json.dumps({**about, "memory_mib": memory, "results": results}))
        return
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print("memory: " + ", ".join(f"{name} {value:.0f} MiB" for name, value in memory.items()))
    for row in results:
        print(f"{row['store']:>6} {row['share']:>5.0%}: p50 {row['p50_ms']:7.1f} ms   p99 {row['p99_ms']:7.1f} ms   "
              f"processor {row['processor_ms']:7.1f} ms   {row['of_faiss']:.2f} x faiss   "
              f"recall@{options.k} {row['recall']:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
