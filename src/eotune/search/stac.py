"""Images that a STAC item, item collection, collection or catalog names: which assets, where, when."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from eotune.core.errors import InputError, shown
from eotune.core.files import read_json
from eotune.core.lookup import require
from eotune.data.images import IMAGE_SUFFIXES
from eotune.search.acquired import parse_time

_USUAL = ("visual", "data")  # keys and roles that are tried where the user names none


@dataclass(frozen=True)
class StacImage:
    """An asset.

    Attributes:
        path: Of its file, absolute.
        footprint: Of its item, a shapely geometry in longitude and latitude; None where the item has none.
        time: When the item was taken, or when that began, microseconds since 1970 UTC; None where it does not say.
    """

    path: Path
    footprint: Any | None
    time: int | None

    def mark(self) -> int:
        """Return a number that is another one when the item says something else."""
        return zlib.crc32(repr((None if self.footprint is None else self.footprint.wkb, self.time)).encode())


def stac_images(file: Path, asset: str | None = None) -> list[StacImage]:
    """Return the images that a STAC file and what it links to name, each once, by path.

    Args:
        file: JSON of an item, an item collection, a collection or a catalog; links to other files are followed.
        asset: Key of an asset, or a role: every asset that has it. None takes ``visual``, else the role ``visual``, the
            key and the role ``data``, the only image of the item.

    Raises:
        InputError: The file, or one that it links to, is no STAC or not on this machine; an item has no such asset.
        MissingExtraError: The extra ``geo`` is not installed.
    """
    require("pystac", "geo")
    found: dict[Path, StacImage] = {}
    for item in _items(Path(file).absolute()):
        footprint, time = _footprint(item), _time(item)
        for path in _files(item, asset):
            found.setdefault(path, StacImage(path, footprint, time))
    if not found:
        raise InputError(f"{file}: names no item", remedy="check its links")
    return [found[path] for path in sorted(found)]


def _items(file: Path) -> Iterator[Any]:
    import pystac

    values = read_json(file)
    try:
        if isinstance(values, dict) and values.get("type") == "FeatureCollection":
            for feature in values.get("features", ()):
                item = pystac.Item.from_dict(feature)
                item.set_self_href(_own_place(item) or str(file))  # what its assets' places are relative to
                yield item
        else:
            root = pystac.read_dict(values, href=str(file), stac_io=_local_files())
            yield from [root] if isinstance(root, pystac.Item) else root.get_items(recursive=True)
    except (pystac.STACError, pystac.STACTypeError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise _refusal(file, error) from None


def _refusal(file: Path, error: BaseException) -> InputError:
    """Return what to say; pystac wraps what happened when it followed a link."""
    words = " ".join(str(error).split())[:200]
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, InputError):
            return inner
        if isinstance(inner, FileNotFoundError):
            return InputError(f"{file}: links to what is not there ({inner.filename})", remedy="restore it")
        inner = inner.__cause__ or inner.__context__
    return InputError(f"{file}: is no STAC, or links to what is none ({words})", remedy="check the file")


def _local_files() -> Any:
    """Return what reads linked files, and asks no server."""
    from pystac.stac_io import DefaultStacIO

    class LocalFiles(DefaultStacIO):
        def read_text_from_href(self, href: str) -> str:
            return _local(href, "a link").read_text(encoding="utf-8")

    return LocalFiles()


def _own_place(item: Any) -> str | None:
    place = item.get_self_href()
    return place if place and "://" not in place and Path(place).is_absolute() else None


def _files(item: Any, wanted: str | None) -> list[Path]:
    assets = item.assets
    for name in _USUAL if wanted is None else (wanted,):
        chosen = [assets[name]] if name in assets else [one for one in assets.values() if name in (one.roles or ())]
        if chosen:
            break
    else:
        images = [one for one in assets.values() if Path(urlsplit(one.href).path).suffix.lower() in IMAGE_SUFFIXES]
        chosen = images if wanted is None and len(images) == 1 else []
    if not chosen:
        raise InputError(
            f"{item.get_self_href()}: item {shown(item.id)} has no asset or role {shown(wanted or 'visual')}",
            remedy=f"choose with --asset: {_choices(assets.items())}",
        )
    paths = [_local(one.get_absolute_href() or one.href, f"an asset of item {shown(item.id)}") for one in chosen]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: asset of item {shown(item.id)} is not there", remedy="restore the file")
    return paths


def _choices(assets: Sequence[tuple[str, Any]]) -> str:
    return ", ".join(f"{key} ({', '.join(one.roles)})" if one.roles else key for key, one in assets) or "it has none"


def _local(href: str, what: str) -> Path:
    parts = urlsplit(href)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise InputError(f"{href}: {what} is not on this machine", remedy="download it, and name the local copy")
    # A normal form, without links resolved: the same file has one name in the index.
    return Path(unquote(parts.path) if parts.scheme else href).absolute()


def _footprint(item: Any) -> Any | None:
    if item.geometry is None:
        return None
    import shapely
    from shapely.geometry import shape

    try:
        area = shape(item.geometry)
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        raise InputError(f"item {shown(item.id)}: its geometry has no meaning ({error})", remedy="mend it") from None
    return None if area.is_empty else area


def _time(item: Any) -> int | None:
    time = item.datetime or item.common_metadata.start_datetime
    return None if time is None else parse_time(time.isoformat())
