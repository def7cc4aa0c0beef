"""Selection over millions of embeddings, against a plain script with scikit-learn, in one process.

    OMP_NUM_THREADS=1 python benchmarks/selection_scale.py [--rows 1000000 10000000] [--dim 384] [--clusters 100]
        [--topics 4000] [--peer-rows 100000] [--folder DIR]

Each number of rows: embeddings are written into a memory map of half-precision floats in --folder (7.7 GB for ten
million rows), then clustered, freed of near duplicates, scored at random and cut down to a third by quotas. Prints the
processor time of each stage for a row, the ratio to the first number of rows (target: at most 1.2 at ten times the
rows), and the peak of resident memory (target: under 8 GiB). Pages of the map count as resident while the system has
memory to spare, so the peak without them stands beside it.

The peer holds everything in memory: MiniBatchKMeans fitted on all rows, all cosines of a cluster, a loop over what is
left. It gets --peer-rows, with as many clusters, and we get the same ones; both must leave the same samples.

The rows are --topics directions with Gaussian noise around them whose variance falls with the direction's number, and a
tenth are copies of other rows with a little noise.
"""

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from eotune.selection.clusters import SAMPLE, assign, fit_centres, sample_rows
from eotune.selection.duplicates import near_duplicates
from eotune.selection.result import Columns
from eotune.selection.strategies.by_name import create
from eotune.selection.vectors import read_rows

CHUNK = 50_000
THRESHOLD = 0.95


def write_rows(path: Path, n: int, d: int, topics: int) -> np.memmap:
    centres = np.random.default_rng(0).standard_normal((topics, d), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    mixing = np.random.default_rng(1).standard_normal((64, d), dtype=np.float32)
    mixing *= (0.2 / np.sqrt(d * np.arange(1, 65, dtype=np.float32)))[:, None]
    rows = np.memmap(path, np.float16, "w+", shape=(n, d))
    for start in range(0, n, CHUNK):
        random = np.random.default_rng([2, start])
        m = min(CHUNK, n - start)
        block = 0.7 * centres[random.integers(topics, size=m)]
        block += random.standard_normal((m, 64), dtype=np.float32) @ mixing
        block += random.standard_normal((m, d), dtype=np.float32) * np.float32(0.3 / np.sqrt(d))
        copies = random.integers(m, size=m // 10)
        block[: m // 10] = block[copies] + random.standard_normal((m // 10, d), dtype=np.float32) * np.float32(0.005)
        rows[start : start + m] = block / np.linalg.norm(block, axis=1, keepdims=True)
    rows.flush()
    return np.memmap(path, np.float16, "r", shape=(n, d))


@contextmanager
def watched_memory() -> Iterator[dict[str, float]]:
    """Watch the process: the peaks in GiB of its resident memory, and of that without pages of files."""
    peaks, stop = {"VmRSS": 0.0, "RssAnon": 0.0}, threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in peaks:
                    peaks[name] = max(peaks[name], int(value.split()[0]) / 2**20)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def ours(rows: np.ndarray, centres: np.ndarray | None, k: int) -> tuple[dict[str, float], np.ndarray]:
    seconds, clock = {}, time.process_time

    start = clock()
    if centres is None:
        centres = fit_centres(read_rows(rows, sample_rows(len(rows), SAMPLE, 0)), k, seed=0)
    seconds["fit"], start = clock() - start, clock()
    clusters = assign(rows, centres)[0]
    seconds["assign"], start = clock() - start, clock()
    ranks = np.arange(len(rows))
    available = near_duplicates(rows, clusters, ranks, threshold=THRESHOLD) < 0
    seconds["near duplicates"], start = clock() - start, clock()
    result = create({"name": "stratified"}).choose(Columns(ranks, available, clusters), len(rows) // 3, seed=0)
    seconds["choose"] = clock() - start
    dropped = len(rows) - int(available.sum())
    print(f"  {len(rows):,} rows, {dropped / len(rows):.1%} near duplicates, {result.kept.sum():,} kept")
    return seconds, available


def peer(rows: np.ndarray, k: int) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    values, clock = np.asarray(rows, np.float32), time.process_time
    start = clock()
    model = MiniBatchKMeans(k, batch_size=4096, n_init=3, random_state=0).fit(values)
    seconds, start = {"fit and assign": clock() - start}, clock()
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    stays = np.ones(len(values), bool)
    for cluster in range(k):
        members = np.flatnonzero(model.labels_ == cluster)
        near = values[members] @ values[members].T >= THRESHOLD
        for place in range(len(members)):
            if stays[members[place]]:
                later = np.flatnonzero(near[place, place + 1 :]) + place + 1
                stays[members[later]] = False
    seconds["near duplicates"] = clock() - start
    return seconds, stays, model.cluster_centers_.astype(np.float32)


def shown(seconds: dict[str, float], n: int) -> str:
    return ", ".join(f"{name} {1e6 * value / n:.1f}" for name, value in seconds.items())


def against_peer(folder: Path, n: int, d: int, k: int, topics: int) -> None:
    rows = write_rows(folder / "peer", n, d, topics)
    theirs, stays, centres = peer(rows, k)
    seconds, available = ours(rows, centres, k)
    print(f"  peer: {shown(theirs, n)} us a row; ours: {shown(seconds, n)} us a row")
    ratio = theirs["near duplicates"] / seconds["near duplicates"]
    print(f"  near duplicates {ratio:.1f} x as fast as the peer; {(available != stays).sum()} of {n} samples differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 10_000_000])
    for name, default in (("dim", 384), ("clusters", 100), ("topics", 4000), ("peer-rows", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    k, d = options.clusters, options.dim
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, first = Path(name), None
        if options.peer_rows:
            against_peer(folder, options.peer_rows, d, max(1, k // 10), options.topics)
        for n in options.rows:
            if shutil.disk_usage(folder).free < 2.2 * n * d:
                print(f"  {n:,} rows: skipped, {2 * n * d / 2**30:.1f} GiB do not fit into {options.folder}")
                continue
            path = folder / "rows"
            rows = write_rows(path, n, d, options.topics)
            with watched_memory() as peaks:
                seconds = ours(rows, None, k)[0]
            total = sum(seconds.values()) / n
            first = first or total
            print(
                f"  {shown(seconds, n)}: {1e6 * total:.1f} us of processor time a row, {total / first:.2f} x the "
                f"first; peak memory {peaks['VmRSS']:.1f} GiB, {peaks['RssAnon']:.1f} GiB without pages of files",
                flush=True,
            )
            path.unlink()


if __name__ == "__main__":
    main()
