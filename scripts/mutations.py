"""Ways to damage a file: bytes flipped, cut, doubled or spliced; JSON and YAML with odd values in odd places."""

import copy
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import yaml

_ODD_INTEGERS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000)
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1e308, -0.0, float("nan"), float("inf"), "", " ", "\0", "a" * 70_000, "\ud800",
    "../../etc/passwd", "/etc/passwd", "C:\\a", "~", "train", "\u202e", "🛰️", [], [[]], {}, {"": None}, [None], ["", ""],
    "1e5", "{}", "*a", "&a", "!!python/object/apply:os.system [id]", "composed:", "open_clip:@", "run:", "tiny@",
)  # fmt: skip


def mutate(data: bytes, kind: str, others: list[bytes], draw: random.Random) -> bytes:
    """Return a damaged copy of ``data``; ``kind`` (json, jsonl, yaml, png or binary) allows finer cuts."""
    ways: list[Callable[[], bytes]] = [lambda: _bytes(data, others, draw)]
    if kind in ("json", "jsonl", "yaml"):
        ways += [lambda: _structure(data, kind, draw)] * 3
    if kind == "png":
        ways.append(lambda: _sealed_png(_bytes(data, others, draw)))
    return draw.choice(ways)()


def _bytes(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = draw.randrange(len(out) + 1)
        end = min(len(out), at + draw.choice((1, 2, 4, 16, 256)))
        match draw.randrange(8):
            case 0 if at < len(out):
                out[at] ^= 1 << draw.randrange(8)
            case 1 if at < len(out):
                out[at] = draw.randrange(256)
            case 2:
                del out[at:end]
            case 3:
                out[at:at] = out[at:end] * draw.choice((1, 2, 50))
            case 4:
                out[at:at] = draw.randbytes(draw.choice((1, 4, 64)))
            case 5:
                number = draw.choice(_ODD_INTEGERS)
                form = draw.choice((">I", "<I", ">H", "<H"))
                out[at : at + struct.calcsize(form)] = struct.pack(
                    form, number & (2 ** (8 * struct.calcsize(form)) - 1)
                )
            case 6:
                del out[at:]
            case _:
                other = draw.choice(others)
                out[at:] = other[draw.randrange(len(other) + 1) :]
    return bytes(out)


def _sealed_png(data: bytes) -> bytes:
    """Make the check sums of damaged chunks right again, so that what is in them is looked at."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        if at + 12 + length > len(out):
            break
        struct.pack_into(">I", out, at + 8 + length, zlib.crc32(out[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(out)


def _structure(data: bytes, kind: str, draw: random.Random) -> bytes:
    text = data.decode()
    if kind == "jsonl":
        lines = text.splitlines()
        at = draw.randrange(len(lines))
        lines[at] = _dumped(_damaged(json.loads(lines[at]), draw), draw)
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    if kind == "yaml":
        damaged = _damaged(yaml.safe_load(text), draw)
        return yaml.safe_dump(damaged, allow_unicode=False).encode("utf-8", "surrogatepass")
    return _dumped(_damaged(json.loads(text), draw), draw).encode("utf-8", "surrogatepass")


def _dumped(value: Any, draw: random.Random) -> str:
    text = json.dumps(value, ensure_ascii=draw.random() < 0.9)
    if draw.random() < 0.05:
        depth = draw.choice((100, 2000, 100_000))
        text = "[" * depth + text + "]" * depth
    return text


def _damaged(value: Any, draw: random.Random) -> Any:
    """Change one to three places of a tree of dicts and lists."""
    value = copy.deepcopy(value)
    for _ in range(draw.randrange(1, 4)):
        places = list(_places(value))
        if not places:
            return draw.choice(_ODD_VALUES)
        parent, key = draw.choice(places)
        match draw.randrange(4):
            case 0 if isinstance(parent, dict):
                parent[str(key)[:-1] or "x"] = parent.pop(key)
            case 1:
                del parent[key]
            case 2 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
            case _:
                parent[key] = copy.deepcopy(draw.choice(_ODD_VALUES))
    return value


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(items):
        yield value, key
        yield from _places(child)
