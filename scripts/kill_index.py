"""Kill the making of an index at random moments, go on each time, and see that it ends as if nothing had happened.

    python scripts/kill_index.py [--kills 50] [--seed 0] [--store exact|lance] [--out DIR]

An archive of GeoTIFF and PNG is indexed; then brought up to date with what became of the archive (files added, changed,
removed, the folder moved); then images are taken out of the index. Each of the three steps happens once undisturbed,
then in a process that gets SIGKILL at a random moment and is started again with ``--resume``. Moments are drawn over
the changes that the step makes to the index's folder, so that short ones, such as the swap of the manifest, are hit
too. Compared are the vectors byte for byte, the tables, the images and the manifest, the names of files aside. A
reader meanwhile opens the index again and again, and one that stays open answers a query again and again: each must
have the whole index as it was before the step or as it is after it. Exit status 1 if anything differs.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from eotune.core.errors import InputError
from eotune.data.scenes.dataset import write_scene
from eotune.data.scenes.georeference import Georeference
from eotune.data.scenes.render import render
from eotune.methods.adapted import load_model
from eotune.search.build import Speed
from eotune.search.index import Index
from eotune.search.store import COLUMNS, Snapshot
from eotune.search.tiles import TileConfig

STEPS = ("build", "update", "delete")
TAKEN_OUT = "b/*"
LIKE = 5  # a tile of an image that no step touches
_POLL = 0.001  # seconds


# --- the steps ----------------------------------------------------------------------------------------------------


def write_archives(folder: Path) -> dict[str, Path]:
    """Write an archive, and another one that it has become; return them by step."""
    before, after = folder / "archive", folder / "archive-later"
    for number in range(10):
        place = Georeference(origin=(500_000 + 2000 * number, 5_400_000), ground_sampling=10.0)
        name = f"{'ab'[number % 2]}/{number}.tif"
        write_scene(before / name, render("Forest", number, size=96), georeference=place)
    for number in range(6):
        Image.fromarray(render("Harbour", number, size=48).image).save(before / f"{number}.png")
    shutil.copytree(before, after)  # with their times of change
    (after / "a/2.tif").unlink()
    (after / "3.png").unlink()
    for number in range(3):
        Image.fromarray(render("Beach", number, size=64).image).save(after / f"{number}.png")
        write_scene(after / f"c/{number}.tif", render("Airport", number, size=128), georeference=Georeference())
    return {"build": before, "update": after, "delete": after}


def perform(step: str, archive: Path, out: Path, store: str) -> None:
    """Do one step, going on with what was interrupted; what it says goes to a file."""
    os.dup2(os.open(f"{out}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    if step == "delete":
        Index.open(out).delete(TAKEN_OUT)
        return
    speed = Speed(batch_size=4, shard_size=8)
    Index.build(archive, out, encoder="tiny", tiles=TileConfig(size=48), speed=speed, store=store, resume=True)


def started(step: str, archive: Path, out: Path, store: str) -> Any:
    """Start a step in a process of its own: forked, so that it need not import, where threads of LanceDB allow it."""
    context = multiprocessing.get_context("fork" if store == "exact" else "spawn")
    process = context.Process(target=perform, args=(step, archive, out, store))
    process.start()
    return process


# --- what an index holds ------------------------------------------------------------------------------------------


def content(out: Path) -> dict[str, Any]:
    """Return all of an index that is compared and that readers have."""
    snapshot = Snapshot(out)
    table = snapshot.rows.columns(COLUMNS.names).sort_by("id")
    vectors = [snapshot.rows.tile(tile) for tile in table["id"].to_pylist()]
    return {
        "manifest": snapshot.manifest.model_dump(exclude={"folder", "segments", "table"}),
        "table": table.to_pylist(),
        "vectors": [None if found is None else found[1].tobytes() for found in vectors],
    }


def images(out: Path) -> list[dict[str, Any]]:
    """Return the images that an index knows; only writers read them."""
    found: list[dict[str, Any]] = Snapshot(out).sources().to_pylist()
    return found


def answer(index: Index) -> list[tuple[int, float]]:
    """Return what a query finds that needs no model."""
    return [(hit.id, hit.score) for hit in index.search(like=LIKE, k=1000)]


class Reader:
    """Opens the index again and again while it changes, and asks one that stays open."""

    def __init__(self, out: Path, allowed: list[dict[str, Any]]) -> None:
        self.out, self.allowed = out, allowed
        self.wrong: list[str] = []
        self.reads = 0
        try:
            self.opened: Index | None = Index.open(out)
            self.expected = answer(self.opened)
        except InputError:
            self.opened = None

    def look(self) -> None:
        """Read the whole index once, and ask the one that is open."""
        self.reads += 1
        try:
            found = content(self.out)
        except InputError as error:
            if len(self.allowed) > 1 or not ("not finished" in str(error) or "holds no index" in str(error)):
                self.wrong.append(f"a reader got: {error}")
            return
        except Exception as error:
            self.wrong.append(f"a reader got: {error!r}")
            return
        if found not in self.allowed:
            self.wrong.append("a reader saw an index that is neither the old nor the new one")
        if self.opened is not None and answer(self.opened) != self.expected:
            self.wrong.append("an index that stayed open answered otherwise")


def listing(out: Path) -> frozenset[str]:
    """Return the names of an index's files, temporary ones too: whenever they change is a moment to kill at."""
    return frozenset(f"{folder}/{name}" for folder, _, names in os.walk(out) for name in names)


# --- killing ------------------------------------------------------------------------------------------------------


def watched(process: Any, out: Path, reader: Reader | None = None, stop_after: int | None = None) -> tuple[int, bool]:
    """Wait for a step, or kill it after so many changes; return their number, and whether it was killed."""
    changes, before, polls = 0, listing(out), 0
    while process.is_alive():
        now = listing(out)
        changes += now != before
        before = now
        if stop_after is not None and changes >= stop_after:
            process.kill()
            process.join()
            return changes, process.exitcode == -9
        polls += 1
        if reader is not None and polls % 20 == 0:
            reader.look()
        time.sleep(_POLL)
    process.join()
    return changes, False


def undisturbed(
    archives: dict[str, Path], out: Path, store: str
) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]], dict[str, int]]:
    """Do every step once; return what the index and its images are after each, and how many changes were seen."""
    states, known, counts = {}, {}, {}
    for step in STEPS:
        counts[step], _ = watched(started(step, archives[step], out, store), out)
        states[step], known[step] = content(out), images(out)
    return states, known, counts


def trial(folder: Path, *, kills: int, seed: int, store: str) -> list[str]:
    """Make indexes with kills and compare; return what differs."""
    rng = random.Random(seed)
    archives = write_archives(folder)
    load_model("tiny")  # what that imports, forked processes have
    states, known, counts = undisturbed(archives, folder / "whole", store)
    wrong, moments, reads, number = list[str](), Counter[str](), 0, 0
    left = dict.fromkeys(STEPS, 0)
    for kill in range(kills):
        left[STEPS[kill % len(STEPS)]] += 1
    while any(left.values()):
        out, number, state = folder / f"killed-{number}", number + 1, None
        for step in STEPS:
            allowed = [states[step]] if state is None else [state, states[step]]
            while True:
                reader = Reader(out, allowed)
                stop_after = rng.randint(0, counts[step]) if left[step] else None
                process = started(step, archives[step], out, store)
                _, killed = watched(process, out, reader, stop_after)
                reader.look()
                wrong += [f"{out.name}, {step}: {line}" for line in reader.wrong]
                reads += reader.reads
                if not killed:
                    break
                left[step] -= 1
                moments[step] += 1
            if process.exitcode:
                said = Path(f"{out}.log").read_text(encoding="utf-8").splitlines()[-1:]
                return [*wrong, f"{out.name}: {step} ended with status {process.exitcode}: {said}"]
            state = content(out)
            wrong += [f"{out.name}, after {step}: {key}" for key in state if state[key] != states[step][key]]
            wrong += [f"{out.name}, after {step}: images"] * (images(out) != known[step])
        shutil.rmtree(out)
    told = ", ".join(f"{moments[step]} in {step}" for step in STEPS)
    print(f"{sum(moments.values())} kills of {number} indexes ({told}), {reads} readings: ", end="")
    print("no difference" if not wrong else f"{len(wrong)} differences")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("kills", 50), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--store", choices=["exact", "lance"], default="exact")
    parser.add_argument("--out", type=Path, help="Folder to work in and to leave behind.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = trial(options.out or Path(temporary), kills=options.kills, seed=options.seed, store=options.store)
    print("\n".join(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
