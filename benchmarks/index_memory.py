"""Memory that indexing one large raster takes above what the process has once its model is loaded.

    python benchmarks/index_memory.py [--side 20000] [--tile-size 1250] [--out DIR]

GeoTIFFs of side x side pixels are written from a pattern that repeats: 8-bit RGB in blocks, in strips (as most programs
write by default), and 16-bit with four bands in strips, each strip with all bands. Each is indexed with `tiny` in a
fresh process. The peak is the kernel's own (VmHWM, set back after loading the model), so that nothing short is missed;
Linux only. Target: at most 400 MiB for 20,000 x 20,000 pixels. Exit status 1 where more is taken.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TARGET = 400  # MiB
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "RGB, blocks": ("uint8", 3, {"tiled": True, "blockxsize": 512, "blockysize": 512}),
    "RGB, strips": ("uint8", 3, {"interleave": "pixel"}),
    "four bands of 16 bits, strips": ("uint16", 4, {"interleave": "pixel"}),
}


def write_raster(path: Path, side: int, dtype: str, bands: int, profile: dict[str, Any]) -> None:
    """Write a raster a row of blocks at a time."""
    import numpy as np
    import rasterio
    from affine import Affine
    from rasterio.windows import Window

    pattern = np.random.default_rng(0).integers(1, np.iinfo(dtype).max, (bands, 512, 512), dtype=dtype)
    row = np.tile(pattern, (1, 1, -(-side // 512)))[:, :, :side]
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, width=side, height=side, dtype=dtype, crs="EPSG:32633",
        transform=Affine(10, 0, 500_000, 0, -10, 5_000_000), compress="deflate", BIGTIFF="YES", **profile,
    ) as target:  # fmt: skip
        for top in range(0, side, 512):
            height = min(512, side - top)
            target.write(row[:, :height], window=Window(0, top, side, height))


def memory(name: str) -> float:
    """Return VmRSS or VmHWM (the peak) of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def measure(archive: Path, tile_size: int) -> dict[str, Any]:
    """Index in this process; return what it took."""
    import numpy as np

    from eotune.methods.adapted import load_model
    from eotune.search.index import Index
    from eotune.search.tiles import TileConfig

    model = load_model("tiny")
    model.embed_images([np.zeros((8, 8, 3), np.uint8)])
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    started = time.perf_counter()
    summary = Index.build(archive, archive.parent / "index", encoder="tiny", tiles=TileConfig(size=tile_size))
    return {
        "tiles": summary["tiles"], "failed": summary["failed"], "seconds": time.perf_counter() - started,
        "before": before, "above": memory("VmHWM") - before,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000, help="Pixels.")
    parser.add_argument("--tile-size", type=int, default=1250, help="Pixels.")
    parser.add_argument("--out", type=Path, help="Folder for the rasters; a temporary one otherwise.")
    parser.add_argument("--archive", type=Path, help="Measure this folder alone, in this process, as JSON.")
    options = parser.parse_args()
    if options.archive:
        print(json.dumps(measure(options.archive, options.tile_size)))
        return
    above = []
    with tempfile.TemporaryDirectory(dir=options.out) as temporary:
        for number, (name, case) in enumerate(CASES.items()):
            archive = Path(temporary, str(number), "archive")
            archive.mkdir(parents=True)
            write_raster(archive / "large.tif", options.side, *case)
            words = ["--archive", str(archive), "--tile-size", str(options.tile_size)]
            output = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(output.stdout.splitlines()[-1])
            (archive / "large.tif").unlink()
            above.append(found["above"])
            print(
                f"{name:>30}: {found['tiles']:,} tiles in {found['seconds']:.0f} s, {found['above']:.0f} MiB above "
                f"{found['before']:.0f} MiB"
            )
    sys.exit(max(above) > TARGET)


if __name__ == "__main__":
    main()
