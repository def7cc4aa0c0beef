"""The page's files, read once: what is asked for is looked up among their names, never on disk."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).with_name("page")
# Not the machine's own table, which may lack them.
_TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".json": "application/json", ".txt": "text/plain"}


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: As it is.
        packed: The same by gzip.
        media_type: Of it.
        etag: Of the content.
    """

    content: bytes
    packed: bytes
    media_type: str
    etag: str


def page_files(folder: Path = PAGE) -> dict[str, PageFile]:
    """Return the files below a folder by their paths in it.

    Example:
        >>> page_files()["index.html"].media_type
        'text/html; charset=utf-8'
    """
    return {path.relative_to(folder).as_posix(): _read(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _read(path: Path) -> PageFile:
    content = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    return PageFile(content, gzip.compress(content, 6, mtime=0), kind, etag)
