"""Files that are whole or not there: atomic writes, locks, checksums, JSON."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError


@contextmanager
def named_disk_errors(path: Path) -> Iterator[None]:
    """Turn what writers raise on a full disk into an OSError that names ``path``.

    Python's own has no file name where a write fails and not an open; safetensors and torch raise other kinds.

    Raises:
        OSError: Instead of these; other errors pass.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(error.filename or path)) from error
    except Exception as error:
        if found := re.search(r"\(os error (\d+)\)", str(error)):  # safetensors passes the number on
            number = int(found[1])
        elif "inline_container" in str(error) or "PytorchStreamWriter" in str(error):  # torch does not
            number = errno.ENOSPC if shutil.disk_usage(path.parent).free < 2**20 else errno.EIO
        else:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place at success and vanishes at failure.

    A reader never sees half a file, and a full disk leaves the old one as it was.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replaced(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> (folder / "a.txt").read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with named_disk_errors(path):
            yield temporary
            temporary.chmod(0o644)  # mkstemp gives 0600; results are meant to be shared
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside ``path`` that gets its name at success and vanishes at failure.

    Raises:
        InputError: ``path`` is there already.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with new_directory(folder / "whole") as temporary:
        ...     _ = (temporary / "a.txt").write_text("a")
        >>> sorted(found.name for found in folder.rglob("*"))
        ['a.txt', 'whole']
    """
    if path.exists():
        raise InputError(f"{path}: is there already", remedy="choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:40]}."))
    try:
        yield temporary
        for found in (temporary, *temporary.rglob("*")):  # mkdtemp gives 0700, safetensors 0600: results are shared
            found.chmod(0o755 if found.is_dir() else 0o644)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a directory against other processes that write there.

    Raises:
        InputError: One does already.
    """
    with (path / ".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{path}: another process is writing there", remedy="wait for it, or choose another --out"
            ) from None
        yield


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. Not-a-number is refused: JSON has no such value.

    Raises:
        ValueError: A float is not finite.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: The file is missing, is not UTF-8 or is not JSON; the message has the line and column.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", remedy="check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory", remedy="name a JSON file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error})", remedy="check the file") from None
    except RecursionError:
        raise InputError(f"{path}: JSON nested too deeply", remedy="check the file") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno} ({error.msg})",
            remedy="check that the file is complete",
        ) from None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
