"""Building an index from GeoTIFF against the bare encoder on the same pixels in memory, in one process.

    python benchmarks/index_build.py [--images 4] [--side 2048] [--tile 256] [--model vit-b-32] [--rounds 3] [--json]

Synthetic rasters (three bands of 8 bits, deflate, blocks of 256) are cut into tiles. One side is `Index.build`, less
what it takes to load the model: listing, footprints, reading and decoding by window, the transform, the model, the
shards, the index. The other is the same encoder on the same tiles, decoded and transformed before, in batches of the
same size. The two take turns; the ratio is of throughput, build to bare, median of the rounds; that of processor time
counts decoding in full, though it goes on beside the model. Models: `vit-b-32`, CLIP's ViT-B/32 with random weights (a
real size: 4.4 GFLOP an image), and `tiny`, whose step is so short that reading decides.

Target: at least 0.85 with a model of real size.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine

from eotune.encoders import load
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.preprocess import ImageTransform
from eotune.search import index as index_module
from eotune.search import workers
from eotune.search.build import Speed
from eotune.search.index import Index
from eotune.search.tiles import TileConfig, TileReader, find_tiles


def vit_b_32() -> Any:
    """Return CLIP's ViT-B/32 and a small text tower, with random weights and tiny's tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    vision = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    text = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 256}
    config = CLIPConfig(
        vision_config={**vision, "image_size": 224, "patch_size": 32}, text_config=text, projection_dim=512
    )
    return HFDualEncoder(CLIPModel(config).eval(), load("tiny").tokenizer, ImageTransform(224))


def archive(folder: Path, images: int, side: int) -> None:
    """Write rasters that compress as photographs do: smooth shapes under noise."""
    random = np.random.default_rng(0)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": side, "height": side, "crs": "EPSG:32633",
               "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}  # fmt: skip
    for number in range(images):
        coarse = random.integers(0, 200, (3, side // 32, side // 32), dtype=np.uint8)
        values = coarse.repeat(32, 1).repeat(32, 2) + random.integers(0, 32, (3, side, side), dtype=np.uint8)
        place = Affine(10, 0, 400_000 + number * 10 * side, 0, -10, 5_000_000)
        with rasterio.open(folder / f"{number}.tif", "w", transform=place, **profile) as target:
            target.write(values)


def in_memory(folder: Path, tiles: TileConfig, encoder: Any, batch: int) -> list[torch.Tensor]:
    pixels = []
    with TileReader(tiles) as reader:
        for path in sorted(folder.glob("*.tif")):
            for tile in find_tiles(path, tiles):
                image = reader.read(path, tile.window)
                if image is not None:
                    pixels.append(torch.from_numpy(np.asarray(encoder.transform(image))))
    return [torch.stack(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("images", 4), ("side", 2048), ("tile", 256), ("batch", 32), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--model", choices=["vit-b-32", "tiny"], default="vit-b-32")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    encoder = vit_b_32() if options.model == "vit-b-32" else load("tiny")
    # Loading is no part of the work: both sides have the model that is there.
    index_module._load = workers.load_model = lambda *_: encoder
    tiles = TileConfig(size=options.tile)
    seconds: dict[str, list[float]] = {"build": [], "bare": []}
    processor: dict[str, list[float]] = {"build": [], "bare": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "archive")
        folder.mkdir()
        archive(folder, options.images, options.side)
        batches = in_memory(folder, tiles, encoder, options.batch)
        count = sum(map(len, batches))
        encoder.embed_pixels(batches[0])

        def build(number: int) -> None:
            out = Path(name, f"index-{number}")
            summary = Index.build(folder, out, encoder="tiny", tiles=tiles, speed=Speed(batch_size=options.batch))
            if summary["tiles"] != count:
                raise RuntimeError(f"{summary['tiles']} tiles, not {count}")

        def bare(_: int) -> None:
            for batch in batches:
                encoder.embed_pixels(batch)

        for number in range(options.rounds):
            for side, work in (("build", build), ("bare", bare)):
                start, start_processor = time.perf_counter(), time.process_time()
                work(number)
                seconds[side].append(time.perf_counter() - start)
                processor[side].append(time.process_time() - start_processor)

    def ratio(times: dict[str, list[float]]) -> float:
        return statistics.median(bare / build for bare, build in zip(times["bare"], times["build"], strict=True))

    result = {
        "model": options.model, "tiles": count, "batch": options.batch, "threads": torch.get_num_threads(),
        "build_tiles_per_s": count / statistics.median(seconds["build"]),
        "bare_tiles_per_s": count / statistics.median(seconds["bare"]), "ratio": ratio(seconds),
        "ratio_of_processor_time": ratio(processor), "load": os.getloadavg()[0],
    }  # fmt: skip
    if options.json:
        print(json.dumps(result))
    else:
        print(", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                        for key, value in result.items()))  # fmt: skip


if __name__ == "__main__":
    main()
