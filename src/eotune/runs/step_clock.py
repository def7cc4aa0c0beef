"""How long each step of a selection takes, over all processes that worked on it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from eotune.core.files import read_json, write_json
from eotune.core.progress import say

SECONDS, RUNNING = "seconds.json", "running.json"


class StepClock:
    """Times steps, and remembers them in a folder; of a process that was killed, up to the last file that it wrote.

    Args:
        folder: The stages'.
        taken_over: From which folder of other stages, by step, and how much of what it computed, 0 to 1: what it cost
            there counts, to compare totals.
    """

    def __init__(self, folder: Path, taken_over: Mapping[str, tuple[Path, float]]) -> None:
        self._folder = folder
        self._taken_over = taken_over
        self._seconds = read_seconds(folder)
        if (folder / RUNNING).is_file():
            running = read_json(folder / RUNNING)
            last = max(file.stat().st_mtime for file in folder.rglob("*"))
            self._add(running["step"], max(last - running["since"], 0.0))

    @property
    def seconds(self) -> Mapping[str, float]:
        """Of each step, so far."""
        return dict(self._seconds)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time a step, also one that fails."""
        say(f"select: {step}")
        self._folder.mkdir(exist_ok=True)
        write_json(self._folder / RUNNING, {"step": step, "since": time.time()})
        start = time.perf_counter()
        try:
            yield
        finally:
            other, part = self._taken_over.get(step, (None, 0.0))
            there = 0.0 if other is None else part * read_seconds(other).get(step, 0.0)
            self._add(step, time.perf_counter() - start + there)

    def _add(self, step: str, seconds: float) -> None:
        self._seconds[step] = round(self._seconds.get(step, 0.0) + seconds, 3)
        write_json(self._folder / SECONDS, self._seconds)
        (self._folder / RUNNING).unlink(missing_ok=True)


def read_seconds(folder: Path) -> dict[str, float]:
    """Return the time of each step that processes before have written; none where they have not."""
    found: dict[str, float] = read_json(folder / SECONDS) if (folder / SECONDS).is_file() else {}
    return found
