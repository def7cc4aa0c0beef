"""A run's directory: made whole, never overwritten, written by one process at a time."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from eotune.core.errors import InputError
from eotune.core.files import held, named_disk_errors, read_json, write_json, write_text
from eotune.training.processes import from_main, is_main, wait_for_all
from eotune.training.trainer import COMPLETE

FINISHED = "metrics.json"
_DISCARDED = ".discarded"


class RunDirectory:
    """Where a run writes. Open it with :meth:`open`.

    Attributes:
        path: The directory.
        finished: Whether an earlier process brought this run to its end.
    """

    def __init__(self, path: Path, *, finished: bool) -> None:
        self.path = path
        self.finished = finished

    @staticmethod
    def check(path: Path, *, resume: bool) -> None:
        """Refuse a directory that holds something else, before any work is done.

        Raises:
            InputError: It is a file, holds another run without ``resume``, or holds no run at all.
        """
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file", remedy="choose another --out")
        if not path.is_dir() or not any(path.iterdir()):
            return
        begun = ("recipe.yaml", ".lock", "selection/selection.yaml")
        if not any((path / name).is_file() for name in begun):
            raise InputError(f"{path}: is not empty and holds no run", remedy="choose another --out")
        if not resume:
            raise InputError(f"{path}: holds a run already", remedy="go on with --resume, or choose another --out")

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, resume: bool) -> Iterator["RunDirectory"]:
        """Make or reopen the directory and hold it against other runs; of several processes the main one writes.

        Where wrong input ends a new run before there is anything to resume, nothing of it is left.

        Raises:
            InputError: As :meth:`check`, or another process is writing there.
        """
        cls.check(path, resume=resume)
        wait_for_all()  # a slower process would take the directory of the main one for another run
        if not is_main():
            yield cls(path, finished=from_main(False))
            return
        existed = path.is_dir()
        is_new = not existed or not any(path.iterdir())
        path.mkdir(parents=True, exist_ok=True)
        with held(path):
            shutil.rmtree(path / _DISCARDED, ignore_errors=True)
            run = cls(path, finished=from_main(is_finished(path)))
            if not run.finished:
                run._drop_torn_line()
            try:
                yield run
            except InputError as error:
                if not run._can_resume():
                    if is_new:
                        _withdraw(path, keep_folder=existed)
                    raise
                raise InputError(str(error), remedy="then go on with --resume") from None

    def refuse_other(self, *, recipe: str, data: Mapping[str, Any]) -> None:
        """Refuse to go on with what another recipe, or other data, began; of a finished run, to take it for this one.

        Raises:
            InputError: They differ; in every process.
        """
        problem: tuple[str, str] | None = None
        file = self.path / "recipe.yaml"
        if is_main() and file.is_file():
            if changed := recipe_differences(file.read_text(encoding="utf-8"), recipe):
                problem = (
                    f"{self.path}: was begun with another recipe ({', '.join(changed[:5])})",
                    f"resume with {file}, or choose another --out",
                )
            else:
                problem = other_data(self.path, data["splits"])
        if problem := from_main(problem):
            raise InputError(problem[0], remedy=problem[1])

    def describe(self, *, recipe: str, environment: Any, data: Any) -> None:
        """Write recipe.yaml, environment.json and data.json."""
        if is_main():
            write_text(self.path / "recipe.yaml", recipe)
            write_json(self.path / "environment.json", environment)
            write_json(self.path / "data.json", data)

    def log(self, event: str, **fields: Any) -> None:
        """Append one line to log.jsonl."""
        if is_main():
            line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, allow_nan=False)
            log = self.path / "log.jsonl"
            with named_disk_errors(log), log.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the rows of metrics.json."""
        rows: list[dict[str, Any]] = read_json(self.path / FINISHED)
        return rows

    def finish(self, *, keep_checkpoints: bool) -> None:
        """Remove what only resuming needs; the run counts as finished from here."""
        checkpoints = self.path / "checkpoints"
        if keep_checkpoints and checkpoints.exists():
            checkpoints.rename(self.path / "kept_checkpoints")
        elif checkpoints.exists():
            checkpoints.rename(self.path / _DISCARDED)  # at once: nobody resumes from half of them
            shutil.rmtree(self.path / _DISCARDED, ignore_errors=True)

    def _drop_torn_line(self) -> None:
        """Cut a last line that a crash left without its end."""
        log = self.path / "log.jsonl"
        if log.is_file():
            content = log.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                with log.open("r+b") as stream:
                    stream.truncate(whole)

    def _can_resume(self) -> bool:
        """Tell whether a whole checkpoint, or a phase that was finished, is there."""
        checkpoints = self.path / "checkpoints"
        return any(any(checkpoints.glob(pattern)) for pattern in (f"*/*/{COMPLETE}", "*/done.json"))


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the events of log.jsonl; a torn last line is left out."""
    if not path.is_file():
        return []
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return events


def is_finished(path: Path) -> bool:
    """Tell whether a run was brought to its end, on the splits that its metrics.json has."""
    return (path / FINISHED).is_file() and not (path / "checkpoints").exists()


def other_data(path: Path, splits: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what is wrong, and the remedy, where a run was begun with other data; None where it was not, or none was.

    Args:
        path: Its directory.
        splits: Those of data.json, as they are now; what is not among them is not compared.
    """
    file = path / "data.json"
    before = read_json(file)["splits"] if file.is_file() else {}
    other = [name for name in before if name in splits and before[name]["sha256"] != splits[name]["sha256"]]
    if not other:
        return None
    return (
        f"{path}: was begun with other data ({', '.join(other)}), or other libraries decoded its images",
        "put the data back (environment.json has the versions), or choose another --out",
    )


def _withdraw(path: Path, *, keep_folder: bool) -> None:
    shutil.rmtree(path)
    if keep_folder:
        path.mkdir()


def recipe_differences(old: str, new: str) -> list[str]:
    """Return the dotted keys whose values differ between two recipes in YAML.

    Example:
        >>> recipe_differences("{seed: 0, task: {name: a}}", "{seed: 0, task: {name: b}}")
        ['task.name']
    """

    def flat(value: Any, key: str = "") -> dict[str, Any]:
        if not isinstance(value, dict) or not value:
            return {key: value}
        return {k: v for name, part in value.items() for k, v in flat(part, f"{key}.{name}".strip(".")).items()}

    before, after = flat(yaml.safe_load(old)), flat(yaml.safe_load(new))
    absent = object()
    return sorted(key for key in {*before, *after} if before.get(key, absent) != after.get(key, absent))
