"""Kill a selection at random moments, resume it each time, and see that it chooses as if nothing had happened.

    python scripts/kill_select.py [--kills 20] [--seed 0] [--out DIR]

A set of captioned scenes goes through `eotune select` once undisturbed, then in a process that gets SIGKILL again and
again, at moments drawn over the time that the undisturbed one took; each kill is followed by ``--resume``. Where a
selection comes to its end before all kills have happened, the others are done to a new one. Compared are
selection.parquet and the subset, byte for byte, and that no shard was written twice. Exit status 1 if anything differs.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

RESULTS = ("selection.parquet", "subset.jsonl")


def write_set(folder: Path, scenes: int) -> Path:
    """Write captioned scenes; return the file."""
    from eotune.data.scenes import write_dataset

    return write_dataset(folder / "scenes", {"train": scenes}, size=64)


def command(samples: Path, out: Path, *, resume: bool) -> list[str]:
    """Return the words that start or continue the selection."""
    return [
        sys.executable, "-m", "eotune.cli.main", "select", str(samples), "--out", str(out), "--encoder", "tiny",
        "--sentence-encoder", "tiny", "--set", "clusters=[2,4]", "--shard-size", "40",
        *(["--resume"] if resume else []),
    ]  # fmt: skip


def undisturbed(samples: Path, out: Path) -> float:
    """Select once; return the seconds it took."""
    start = time.perf_counter()
    subprocess.run(command(samples, out, resume=False), check=True, capture_output=True)
    return time.perf_counter() - start


def shards(out: Path) -> dict[str, int]:
    """Return when each shard was written, by its path."""
    found = {}
    for path in (out / "stages").glob("*/shard-*.parquet"):
        found[str(path.relative_to(out))] = path.stat().st_mtime_ns
    return found


def trial(folder: Path, *, kills: int, seed: int, scenes: int) -> list[str]:
    """Select with kills and compare; return what differs."""
    rng, samples = random.Random(seed), write_set(folder, scenes)
    seconds = undisturbed(samples, folder / "whole")
    left, number, wrong, stopped = kills, 0, list[str](), Counter[str]()
    while left:
        out, number, resume = folder / f"killed-{number}", number + 1, False
        written: dict[str, int] = {}
        while True:
            process = subprocess.Popen(
                command(samples, out, resume=resume), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            killed = False
            if left:
                try:
                    process.wait(timeout=rng.uniform(0.1, 0.9) * seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                    killed = True
            _, said = process.communicate()
            now = shards(out) if out.exists() else {}
            wrong += [f"{out.name}: {path} was written again" for path in written if now.get(path) != written[path]]
            written = now
            if not killed:
                break
            left -= 1
            stages = {path.split("/")[1] for path in now}
            stopped[f"{len(stages)} stages"] += 1
            resume = out.exists() and any(out.iterdir())
        if process.returncode:
            return [*wrong, f"{out.name}: status {process.returncode}: {said.strip()}"]
        whole = folder / "whole"
        wrong += [f"{out.name}: {name}" for name in RESULTS if (out / name).read_bytes() != (whole / name).read_bytes()]
    moments = ", ".join(f"{count} after {stage}" for stage, count in sorted(stopped.items()))
    print(f"{kills} kills of {number} selections, {seconds:.1f} s undisturbed ({moments}): ", end="")
    print("no difference" if not wrong else f"{len(wrong)} differences")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("kills", 20), ("seed", 0), ("scenes", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="Folder to work in and to leave behind.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        found = trial(folder, kills=options.kills, seed=options.seed, scenes=options.scenes)
    print("\n".join(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
