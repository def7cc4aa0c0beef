"""Workers that other processes can import; what each must do stands in its settings."""

import hashlib
import os
import signal
from pathlib import Path

import pyarrow as pa


def samples(count, start=0):
    ids = [f"s{number:04d}" for number in range(start, start + count)]
    return pa.table({"id": ids, "text": [f"text of {name}" for name in ids]})


def vectors_of(texts):
    """Return four numbers for each text, by a hash."""
    flat = [byte / 256 for text in texts for byte in hashlib.sha256(text.encode()).digest()[:4]]
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), 4)


def contents(folder):
    """Return the bytes of a folder's files by name; the lock's are none."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


class Hashes:
    """Embeds by a hash; notes each call in ``settings["log"]``, and goes wrong where ``settings`` says so."""

    def __init__(self, settings):
        self.settings = settings

    def __call__(self, table):
        ids = table["id"].to_pylist()
        if "log" in self.settings:
            with Path(self.settings["log"]).open("a") as stream:
                stream.write(f"{os.getpid()} {ids[0]} {len(ids)}\n")
        if self.settings.get("dies_at") in ids or self._for_once("dies_once_at", ids):
            os.kill(os.getpid(), signal.SIGKILL)
        if len(ids) > self.settings.get("room", len(ids)):
            raise MemoryError
        if self.settings.get("raises_at") in ids:
            raise ValueError("a value\nof two lines")
        if self.settings.get("full_disk_at") in ids:
            raise OSError(28, "No space left on device", "/scratch/cache")
        bad = self.settings.get("unreadable", [])
        errors = pa.array([f"{name}.png: cannot be read" if name in bad else None for name in ids], pa.string())
        return pa.table({"id": table["id"], "vector": vectors_of(table["text"].to_pylist()), "error": errors})

    def _for_once(self, key, ids):
        """Tell whether this is the first call that has the row that ``key`` names."""
        if self.settings.get(key) not in ids:
            return False
        mark = Path(self.settings["log"] + ".done")
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Unwilling:
    def __init__(self, settings):
        if settings == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise settings

    def __call__(self, table):
        raise NotImplementedError


class Careless:
    """Returns what its settings say whatever it is given."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, table):
        return self.answer
