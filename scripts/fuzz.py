"""Damage caption files, recipes, images and checkpoints, and see that each is read or refused in one clear line.

    python scripts/fuzz.py [--count 20000] [--seed 0] [--kinds captions,recipe,image,...] [--save DIR]

Every case is a valid file with a few things wrong, read as eotune reads user files. What counts as a defect: any
exception but an eotune error, more than one line where there is one thing to say, a warning, a crash of the
process, more than ``--seconds`` for one case, or more than ``--memory`` MiB. Cases are reproducible by kind, seed and
number; ``--save`` keeps the files of the defects, and those that were found and mended stay in tests/fuzz/corpus. Exit
status 1 if there is one.
"""

import argparse
import io
import json
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mutations import mutate
from PIL import Image

from eotune.core.errors import EotuneError, InputError

Seed = tuple[str, bytes, str]  # file name, content, how to damage it


# --- what is damaged ----------------------------------------------------------------------------------------------


def captions_seeds() -> list[Seed]:
    rows = [
        {
            "image": f"{i}.png",
            "captions": [f"{n} planes ." for n in range(5)],
            "split": split,
            "label": "Airport",
            "id": str(i),
        }
        for i, split in enumerate(("train", "val", "test"))
    ]
    karpathy = [
        {"filename": r["image"], "imgid": i, "split": r["split"], "sentences": [{"raw": c} for c in r["captions"]]}
        for i, r in enumerate(rows)
    ]
    flat = [{"image": r["image"], "caption": r["captions"], "image_id": i} for i, r in enumerate(rows)]
    return [
        ("a.json", json.dumps({"images": karpathy, "dataset": "x"}).encode(), "json"),
        ("b.json", json.dumps(flat).encode(), "json"),
        ("c.jsonl", "\n".join(map(json.dumps, rows)).encode(), "jsonl"),
    ]


def instructions_seeds() -> list[Seed]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    turns = [{"from": "human", "value": "<image>\nHow many planes?"}, {"from": "gpt", "value": "Two."}]
    said = [{"role": "user", "content": "<image>Where?"}, {"role": "assistant", "content": "Here."}]
    flat = [{"id": i, "image": f"{i}.png", "conversations": turns, "split": "train"} for i in range(3)]
    messages = [{"messages": said, "images": [f"{i}.png"], "source": {"a": i}} for i in range(3)]
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(flat * 2), table, row_group_size=4)
    texts = [(name, data, how) for name, data, how in captions_seeds() if name != "b.json"]
    return [
        *texts,
        ("d.json", json.dumps(flat, indent=1).encode(), "json"),
        ("e.jsonl", "\n".join(map(json.dumps, messages)).encode(), "jsonl"),
        ("f.parquet", table.getvalue(), "binary"),
    ]


def recipe_seeds() -> list[Seed]:
    return [
        (path.name, path.read_bytes(), "yaml")
        for path in sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml"))
    ]


def image_seeds() -> list[Seed]:
    import rasterio
    from affine import Affine

    draw = np.random.default_rng(0)
    rgb = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("a.png", Image.fromarray(rgb), {}),
        ("b.png", Image.fromarray(rgb).convert("P"), {"transparency": 0}),
        ("c.png", Image.fromarray(draw.integers(0, 65536, (24, 32)).astype(np.uint16)), {}),
        ("d.jpg", Image.fromarray(rgb), {"exif": exif}),
        ("e.jpg", Image.fromarray(rgb).convert("CMYK"), {"progressive": True}),
        ("f.tif", Image.fromarray(rgb), {"compression": "tiff_lzw"}),
        ("g.webp", Image.fromarray(rgb), {}),
        ("h.gif", Image.fromarray(rgb).convert("P"), {}),
        ("i.bmp", Image.fromarray(rgb), {}),
    ]
    seeds = []
    for name, picture, options in kinds:
        stream = io.BytesIO()
        picture.save(stream, format={"jpg": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:]), **options)
        seeds.append((name, stream.getvalue(), "png" if name.endswith("png") else "binary"))
    rasters: list[tuple[str, str, np.ndarray, dict[str, Any]]] = [
        (
            "j.tif",
            "GTiff",
            draw.integers(0, 9000, (4, 24, 32)).astype(np.uint16),
            {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16},
        ),
        ("k.tif", "GTiff", draw.normal(size=(1, 24, 32)).astype(np.float32), {"nodata": -9999.0}),
        ("l.jp2", "JP2OpenJPEG", draw.integers(0, 9000, (3, 64, 64)).astype(np.uint16), {}),
    ]
    for name, driver, values, options in rasters:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            grid = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
            count, height, width = values.shape
            with rasterio.open(
                path, "w", driver=driver, count=count, height=height, width=width, dtype=values.dtype, **grid, **options
            ) as target:
                target.write(values)
                for number in range(count) if driver == "GTiff" else ():
                    target.set_band_description(number + 1, f"B{number + 2:02d}")
            seeds.append((name, path.read_bytes(), "binary"))
    return seeds


def checkpoint_seeds() -> list[Seed]:
    import torch
    from safetensors.torch import save

    state = {"visual.proj": torch.randn(4, 4), "logit_scale": torch.tensor(2.0), "ids": torch.arange(5)}
    pickled, old = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": state, "epoch": 3}, pickled)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    return [
        ("a.safetensors", save(state), "binary"),
        ("b.pt", pickled.getvalue(), "binary"),
        ("c.pt", old.getvalue(), "binary"),
    ]


@cache
def adapted() -> dict[str, bytes]:
    """Return the files of a small adapter of the bundled encoder, by name."""
    from eotune.methods.adapted import load_model, save_adapted
    from eotune.methods.by_name import create

    method, encoder = create({"name": "harma", "bottleneck": 16}), load_model("tiny", image_size=32)
    method.apply(encoder, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        return {path.name: path.read_bytes() for path in save_adapted(Path(folder), method, encoder).iterdir()}


def adapter_seeds() -> list[Seed]:
    return [(name, data, "json" if name.endswith(".json") else "binary") for name, data in sorted(adapted().items())]


def preprocessor_seeds() -> list[Seed]:
    from transformers import AutoImageProcessor, Siglip2ImageProcessorPil, ViTImageProcessorPil

    from eotune.encoders.tiny import WEIGHTS

    kinds = {
        "a.json": AutoImageProcessor.from_pretrained(WEIGHTS, backend="pil"),
        "b.json": ViTImageProcessorPil(size={"height": 32, "width": 32}),
        "c.json": Siglip2ImageProcessorPil(max_num_patches=16, patch_size=8),
    }
    return [(name, processor.to_json_string().encode(), "json") for name, processor in kinds.items()]


# --- how it is read -----------------------------------------------------------------------------------------------


def read_captions_file(path: Path) -> None:
    from eotune.data.captions import read_captions, scan_captions

    scan_captions(path)
    read_captions(path)


def read_instructions_file(path: Path) -> None:
    """Read an instruction set, write every second sample of it, and read that."""
    from eotune.data.instruction_files import dataset_info, write_subset, write_xcomposer
    from eotune.data.instructions import BadRecord, open_instructions

    source = open_instructions(path, ids="row", check_files=False)
    found = list(source.samples())
    chosen = [one for one in found if not isinstance(one, BadRecord)][::2]
    rows = [one.row for one in chosen]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / path.name
        write_subset(source, rows, out)
        write_xcomposer(source, rows, Path(folder) / "xcomposer.json")
        if chosen:
            again = list(open_instructions(out, ids="row", images=source.root, check_files=False).samples())
            if [(one.images, one.turns) for one in again] != [(one.images, one.turns) for one in chosen]:
                raise ValueError("what was written is not what was chosen")
    dataset_info(source, path.name, "damaged")


def read_recipe_file(path: Path) -> None:
    from eotune.runs.recipe import read_recipe

    read_recipe(path)


def read_image_file(path: Path) -> None:
    from eotune.data.bands import BandConfig
    from eotune.data.images import read_bands, read_image

    first: InputError | None = None
    for attempt in (
        lambda: read_image(path),
        lambda: read_image(path, max_side=8),
        lambda: read_image(path, BandConfig(bands=[1])),
        lambda: read_bands(path),
    ):
        try:
            attempt()
        except InputError as error:
            first = first or error
    if first:
        raise first


def read_checkpoint_file(path: Path) -> None:
    from eotune.encoders.open_clip_weights import read_state_dict
    from eotune.methods.weights import read_weights

    if path.suffix == ".safetensors":
        read_weights(path)
    read_state_dict(path)


def read_adapter_file(path: Path) -> None:
    """Load the adapter with one of its files damaged."""
    from eotune.methods.adapted import load_adapted

    with tempfile.TemporaryDirectory() as folder:
        for name, data in adapted().items():
            (Path(folder) / name).write_bytes(path.read_bytes() if path.name == name else data)
        load_adapted(Path(folder))


def read_preprocessor_file(path: Path) -> None:
    """Read how a model's images are prepared, and prepare one."""
    from transformers import AutoConfig

    from eotune.encoders.processors import read_transform
    from eotune.encoders.tiny import WEIGHTS

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "preprocessor_config.json").write_bytes(path.read_bytes())
        transform = read_transform(folder, AutoConfig.from_pretrained(WEIGHTS), native_size=64)
    transform(np.zeros((20, 30, 3), np.uint8))


KINDS: dict[str, tuple[Callable[[], list[Seed]], Callable[[Path], None]]] = {
    "captions": (captions_seeds, read_captions_file),
    "instructions": (instructions_seeds, read_instructions_file),
    "recipe": (recipe_seeds, read_recipe_file),
    "image": (image_seeds, read_image_file),
    "checkpoint": (checkpoint_seeds, read_checkpoint_file),
    "adapter": (adapter_seeds, read_adapter_file),
    "preprocessor": (preprocessor_seeds, read_preprocessor_file),
}


# --- one case -----------------------------------------------------------------------------------------------------


def case(kind: str, seed: int, number: int, seeds: list[Seed]) -> tuple[str, bytes]:
    """Return the file name and content of one damaged file."""
    draw = random.Random(f"{kind}-{seed}-{number}")
    name, data, how = draw.choice(seeds)
    return name, mutate(data, how, [other[1] for other in seeds], draw)


def defect(kind: str, path: Path) -> str | None:
    """Read one file; return what is wrong with the way that went, or None."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # as cli/main.py does
        try:
            KINDS[kind][1](path)
        except EotuneError as error:
            text = str(error)
            if kind in {"image", "checkpoint", "preprocessor"} and "\n" in text:
                return f"more than one line: {text[:300]!r}"
            if len(text) > 5000:
                return f"message of {len(text)} characters"
            try:
                text.encode()
            except UnicodeEncodeError:
                return "message cannot be printed"
        except MemoryError:
            return "MemoryError"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:300]}"
    return f"warning: {caught[0].category.__name__}: {caught[0].message}"[:300] if caught else None


def _work(kind: str, seed: int, first: int, last: int, limits: tuple[int, int], channel: Any) -> None:
    """Go through cases in a process of its own; report the number before each, and each defect after it."""
    seconds, megabytes = limits
    seeds = KINDS[kind][0]()
    folder = Path(tempfile.mkdtemp())
    usage = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # noqa: E731
    for name, data, _ in seeds:  # whole ones first: they load what reading needs, and must be read
        (folder / name).write_bytes(data)
        if problem := defect(kind, folder / name):
            channel.send(("defect", -1, f"{name}, undamaged: {problem}"))
    base = usage()
    for number in range(first, last):
        channel.send(("begin", number, ""))
        name, data = case(kind, seed, number, seeds)
        path = folder / name
        path.write_bytes(data)
        started = time.perf_counter()
        signal.alarm(5 * seconds)  # kills the process: C code does not notice exceptions
        problem = defect(kind, path)
        signal.alarm(0)
        if time.perf_counter() - started > seconds:
            problem = problem or f"took {time.perf_counter() - started:.1f} s"
        if usage() > base + megabytes:
            problem = problem or f"took {usage() - base} MiB"
            base = usage()
        if problem:
            channel.send(("defect", number, problem))
    channel.send(("end", last, ""))


def fuzz(kind: str, count: int, *, seed: int, seconds: int = 5, megabytes: int = 1500) -> dict[int, str]:
    """Return the defects of ``count`` cases by number; a crashed process is one, and the rest goes on."""
    found: dict[int, str] = {}
    first = 0
    context = multiprocessing.get_context("spawn")
    while first < count:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(kind, seed, first, count, (seconds, megabytes), theirs))
        process.start()
        theirs.close()
        current = first - 1
        try:
            while True:
                what, current, text = ours.recv()
                if what == "defect":
                    found[current] = text
        except EOFError:
            process.join()
        if process.exitcode and current < first:
            raise RuntimeError(f"{kind}: the process ended with {process.exitcode} before the first case")
        if process.exitcode:
            found[current] = f"the process ended with {process.exitcode}"
            first = current + 1
        else:
            first = count
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="cases in all")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--save", type=Path)
    for name, default in (("seed", 0), ("seconds", 5), ("memory", 1500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    total = 0
    for kind in kinds:
        started = time.perf_counter()
        count = options.count // len(kinds)
        found = fuzz(kind, count, seed=options.seed, seconds=options.seconds, megabytes=options.memory)
        print(f"{kind}: {count} cases, {len(found)} defects, {time.perf_counter() - started:.0f} s", flush=True)
        seeds = KINDS[kind][0]()
        for number, text in found.items():
            print(f"  {kind} {options.seed} {number}: {text}", flush=True)
            if options.save and number >= 0:
                options.save.mkdir(parents=True, exist_ok=True)
                name, data = case(kind, options.seed, number, seeds)
                (options.save / f"{kind}-{options.seed}-{number}-{name}").write_bytes(data)
        total += len(found)
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
