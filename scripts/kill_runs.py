"""Kill a run at random moments, resume it each time, and see that it ends as if nothing had happened.

    python scripts/kill_runs.py [--kills 20] [--seed 0] [--steps 240] [--out DIR] [--sweep | --long-tail]

A small recipe (synthetic scenes, the bundled encoder, HarMA) runs once undisturbed, then in a process that gets SIGKILL
again and again: while it starts, at steps drawn over what is left, while a checkpoint is written, in an evaluation, and
after training. Each kill is followed by ``--resume``. Where a run comes to its end before all kills have happened, the
others are done to a new one. Compared are metrics.json, every file of the adapter, and the loss of every step and the
figures of every evaluation, repeated ones included, to the last bit. ``--sweep`` does the same to `eotune sweep` over
two settings. ``--long-tail`` does it to debLoRA on labelled scenes, whose run has more parts: a phase, the features and
clusters of its targets, another phase, and the probes; it is killed in each, and a phase that has ended must not train
again. Exit status 1 if anything differs.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

SPLITS = ("train", "validation", "test")
CLASSES = ("Forest", "Beach", "Harbour", "Farmland")
CHECKPOINT = 8  # steps, of epochs of 10: every fifth falls together with an evaluation
KINDS = {"step": 7, "checkpoint": 5, "evaluation": 4, "start": 2, "end": 2}  # of 20 kills
OF_LONG_TAIL = {"step": 7, "checkpoint": 3, "evaluation": 3, "start": 1, "targets": 3, "end": 3}
SPREAD = {"start": 5.0, "step": 0.05, "checkpoint": 0.015, "evaluation": 0.15, "targets": 1.5, "end": 2.0}  # seconds
_POLL = 0.002  # seconds


# --- the run ------------------------------------------------------------------------------------------------------


def write_recipe(folder: Path, *, steps: int, long_tail: bool) -> Path:
    """Write scenes and a recipe of ``steps`` steps below ``folder``; return the recipe."""
    values = _long_tail(folder, steps) if long_tail else _retrieval(folder, steps)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "killed", "encoder": {"name": "tiny", "image_size": 32}, **values}))
    return path


def _retrieval(folder: Path, steps: int) -> dict[str, Any]:
    from eotune.data.scenes import write_dataset

    captions = write_dataset(folder / "scenes", {"train": 8, "validation": 2, "test": 2}, size=32)
    return {
        "task": {
            "name": "retrieval", "pairs": "images",
            **{s: {"captions": str(captions), "split": s, "limit": 80} for s in SPLITS},
        },
        "method": {"name": "harma", "bottleneck": 16},
        "training": {
            "batch_size": 8, "max_steps": steps, "log_every": 1, "checkpoint_every": CHECKPOINT, "device": "cpu",
            "learning_rate": 3e-3,
        },
    }  # fmt: skip


def _long_tail(folder: Path, steps: int) -> dict[str, Any]:
    """Return a recipe of two phases of half the steps each."""
    from eotune.data.scenes import write_dataset

    scenes = write_dataset(folder / "scenes", {"train": 20, "validation": 6, "test": 10}, size=32, classes=CLASSES)
    return {
        "task": {
            "name": "long_tail", "imbalance_ratio": 4, **{s: {"path": str(scenes), "split": s} for s in SPLITS},
        },
        "method": {"name": "deblora", "clusters": 4, "rho": 2, "strong": 2},
        "training": {
            "batch_size": 8, "max_steps": steps, "log_every": 1, "checkpoint_every": CHECKPOINT, "device": "cpu",
            "learning_rate": 1e-3, "augmentation": {"randaugment": None},
        },
    }  # fmt: skip


def command(recipe: Path, out: Path, *, sweep: bool) -> list[str]:
    """Return the words that start or continue the run."""
    words = ["sweep", str(recipe), "--grid", "method.bottleneck=16,32"] if sweep else ["run", str(recipe)]
    resume = ["--resume"] if out.exists() else []
    return [sys.executable, "-m", "eotune.cli.main", *words, "--out", str(out), *resume]


# --- where it stands ----------------------------------------------------------------------------------------------


def changed(out: Path, pattern: str) -> dict[Path, float]:
    """Return what matches in a directory by when it was changed, oldest first; a run may remove folders meanwhile."""
    while True:
        try:
            times = {path: path.stat().st_mtime for path in out.rglob(pattern)}
        except FileNotFoundError:
            continue
        return dict(sorted(times.items(), key=lambda item: item[1]))


class Watch:
    """What a process has done to a directory since it was started.

    Args:
        out: The directory; of a sweep, the folder of all its runs.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.began = time.time()
        self.checkpoints = changed(out, "checkpoint-*").keys()

    def log(self) -> list[dict[str, Any]]:
        """Return the events that it logged."""
        logs = list(changed(self.out, "log.jsonl"))
        lines = logs[-1].read_text(encoding="utf-8").split("\n")[:-1] if logs else []
        return [event for event in map(json.loads, lines) if event["time"] > self.began]

    def steps(self) -> int:
        """Return how many steps it has made."""
        return sum(event["event"] == "step" for event in self.log())

    def last(self) -> dict[str, Any]:
        """Return its last step or evaluation."""
        return next((e for e in reversed(self.log()) if e["event"] in ("step", "evaluation")), {"event": "", "step": 0})

    def writes_checkpoint(self) -> bool:
        """Tell whether it has begun to write a checkpoint."""
        return bool(changed(self.out, "checkpoint-*").keys() - self.checkpoints)

    def evaluates(self) -> bool:
        """Tell whether it has made the last step of an epoch, and not yet what comes then."""
        last = self.last()
        return last["event"] == "step" and float(last["epoch"]).is_integer()

    def trained(self, phases: int = 1) -> bool:
        """Tell whether it has come to the end of a run's phase of that number."""
        ends = changed(self.out, "done.json").values()
        return len(ends) >= phases and max(ends) > self.began

    def doing(self) -> str:
        """Say what it was at when it was killed."""
        log = self.log()
        if log and log[-1]["event"] == "end":
            return "writing the report"
        if torn := [folder for folder in self.out.rglob("checkpoint-*") if not (folder / "complete").exists()]:
            return f"writing {torn[0].name}, {sum(path.is_file() for path in torn[0].iterdir())} files of it there"
        if self.trained():
            return "measuring the test split"
        last = self.last()
        if not last["step"]:
            return "restoring its state" if log else "starting"
        phase = next((f"{event['name']}, " for event in reversed(log) if event["event"] == "phase"), "")
        return phase + (f"evaluating after step {last['step']}" if self.evaluates() else f"step {last['step'] + 1}")


def done_steps(out: Path) -> int:
    """Return the steps of the newest whole checkpoints of all phases together; 0 where there is none."""
    newest: dict[Path, int] = {}
    for path in out.rglob("checkpoint-*/complete"):
        phase, step = path.parents[1], int(path.parent.name.rpartition("-")[2])
        newest[phase] = max(step, newest.get(phase, 0))
    return sum(newest.values())


# --- when to kill -------------------------------------------------------------------------------------------------


def plan(kills: int, draw: random.Random, shares: dict[str, int] = KINDS) -> list[str]:
    """Return the kind of every kill, in order; those at the end of the run come last."""
    kinds = [kind for kind, share in shares.items() for _ in range(max(1, round(share * kills / 20)))][:kills]
    draw.shuffle(kinds)
    return sorted(kinds, key=lambda kind: kind == "end")


def ready(kind: str, watch: Watch, steps: int, phases: int) -> Callable[[], bool]:
    """Return what tells that the moment of a kind has come, up to a delay."""
    moments: dict[str, Callable[[], bool]] = {
        "start": lambda: True,
        "step": lambda: watch.steps() >= steps,
        "checkpoint": watch.writes_checkpoint,
        "evaluation": watch.evaluates,
        "targets": watch.trained,
        "end": lambda: watch.trained(phases),
    }
    return moments[kind]


def kill_once(words: list[str], out: Path, kind: str, *, steps: int, phases: int, delay: float) -> str | None:
    """Run until ``delay`` seconds after the moment of a kind; return what was cut short, None if the end came first.

    Raises:
        RuntimeError: The process failed by itself.
    """
    with tempfile.TemporaryFile("w+") as errors:
        watch = Watch(out)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
        moment, killed_at = ready(kind, watch, steps, phases), float("inf")
        try:
            while process.poll() is None and time.monotonic() < killed_at:
                if killed_at == float("inf") and moment():
                    killed_at = time.monotonic() + delay
                time.sleep(_POLL)
            runs = process.poll() is None
        finally:
            process.kill()
            process.wait()
        if runs:
            return watch.doing()
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{out} ended with {process.returncode}: {errors.read()[-2000:]}")
        return None


# --- the comparison -----------------------------------------------------------------------------------------------


def differences(whole: Path, other: Path) -> list[str]:
    """Return what differs between an undisturbed directory and one that was killed: files, and events of the log."""
    parts = ("adapter", "classifiers")
    files = [p.relative_to(whole) for p in whole.rglob("*") if p.name == "metrics.json" or p.parent.name in parts]
    equal = [f for f in files if (other / f).is_file() and (other / f).read_bytes() == (whole / f).read_bytes()]
    found = [str(file) for file in files if file not in equal]
    for log in (path.relative_to(whole) for path in whole.rglob("log.jsonl")):
        expected, seen = dict(_figures(whole / log)), list(_figures(other / log))
        found += [f"{log}: {key}" for key, figures in seen if expected.get(key) != figures]
        found += [f"{log}: no {key}" for key in expected.keys() - dict(seen).keys()]
        phases = [key[0] for key, _ in seen]
        order = list(dict.fromkeys(phases))
        if phases != sorted(phases, key=order.index):
            found.append(f"{log}: a phase that had ended trains again")
    return found if files else ["the undisturbed run left nothing to compare"]


def _figures(log: Path) -> Iterator[tuple[tuple[str, str, int], list[Any]]]:
    """Yield phase, kind and step of the steps and evaluations in a log, and their figures."""
    phase = ""
    for event in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        if event["event"] == "phase":
            phase = event["name"]
        if event["event"] in ("step", "evaluation"):
            figures = [event.get(name) for name in ("loss", "learning_rate", "gradient_norm", "metrics")]
            yield (phase, event["event"], event["step"]), figures


def trial(
    folder: Path, *, kills: int, seed: int, steps: int, sweep: bool = False, long_tail: bool = False
) -> list[str]:
    """Kill, resume and compare; print a line a kill and return what differed."""
    draw = random.Random(seed)
    recipe = write_recipe(folder, steps=steps, long_tail=long_tail)
    whole, out, runs = folder / "whole", folder / "killed-1", 1
    began = time.perf_counter()
    subprocess.run(command(recipe, whole, sweep=sweep), check=True, capture_output=True)
    print(f"undisturbed: {time.perf_counter() - began:.0f} s", flush=True)
    found, moments = [], Counter[str]()
    kinds = plan(kills, draw, OF_LONG_TAIL if long_tail else KINDS)
    phases = 2 if long_tail else 1
    while kinds:
        left = steps - done_steps(out)
        more = draw.randint(1, max(1, 2 * left // (len(kinds) + 1)))
        delay = draw.uniform(0, SPREAD[kinds[0]])
        cut = kill_once(command(recipe, out, sweep=sweep), out, kinds[0], steps=more, phases=phases, delay=delay)
        if cut is None:
            found += [f"run {runs}: {one}" for one in differences(whole, out)]
            runs += 1
            out = folder / f"killed-{runs}"
            continue
        moments[kinds.pop(0)] += 1
        print(f"{moments.total():>3}  run {runs}  {cut}; goes on from step {done_steps(out)}", flush=True)
    subprocess.run(command(recipe, out, sweep=sweep), check=True, capture_output=True)
    found += [f"run {runs}: {one}" for one in differences(whole, out)]
    print(f"{moments.total()} kills of {runs} runs, {len(found)} differences, {time.perf_counter() - began:.0f} s")
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("kills", 20), ("seed", 0), ("steps", 240)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="keep everything there, in a new folder")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sweep", action="store_true", help="kill `eotune sweep` instead of `eotune run`")
    what.add_argument("--long-tail", action="store_true", help="kill debLoRA on labelled scenes")
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp())
    found = trial(
        folder, kills=options.kills, seed=options.seed, steps=options.steps, sweep=options.sweep,
        long_tail=options.long_tail,
    )  # fmt: skip
    for one in found:
        print(f"  differs: {one}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
