"""The last chapter of the demo: an archive of georeferenced scenes, searched by words and by example."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.files import write_json, write_text
from eotune.core.progress import say
from eotune.core.seeds import derive_seed
from eotune.data.scenes import Scene, render
from eotune.data.scenes.dataset import DEFAULT_CLASSES
from eotune.data.scenes.georeference import Georeference, write_geotiff
from eotune.runs.footprint_map import footprint_map
from eotune.runs.page import Page, Picture
from eotune.runs.run_files import REPORT
from eotune.search.answers import thumbnail, write_answers
from eotune.search.filters import make_filter
from eotune.search.index import Hit, Index
from eotune.search.tiles import TileConfig, TileReader

ARCHIVE, INDEX = "archive", "archive.index"
SIZE, ACROSS, DOWN = 96, 5, 4  # pixels of a scene, and scenes of a raster
K = 5
SCREENSHOT = Path(__file__).parents[3] / "docs" / "images" / "serve.png"  # in a checkout, not in a wheel
# A raster each: its name, and where it lies; one crosses the antimeridian.
PLACES: dict[str, Georeference] = {
    "freiburg_20230514": Georeference("EPSG:32632", (410_000.0, 5_318_000.0), 10.0),
    "sydney_20230703": Georeference("EPSG:32756", (330_000.0, 6_250_000.0), 10.0),
    "svalbard_20240622": Georeference("EPSG:3995", (280_000.0, -1_190_000.0), 10.0),
    "fiji_20240811": Georeference("EPSG:4326", (179.98, -16.50), 0.0001),
}
# A query, and the class that is right.
QUERIES = {
    "white ships are moored at a concrete quay .": "Harbour",
    "white storage tanks with grass around .": "StorageTanks",
    "houses with red roofs in a residential area .": "Residential",
}


@dataclass(frozen=True)
class Truth:
    """What is known of the archive.

    Attributes:
        labels: Class of the scene at (file, column, row).
        words: (a caption of a scene that is not in the archive, its class).
        examples: (the picture of one, its class).
    """

    labels: Mapping[tuple[str, int, int], str]
    words: Sequence[tuple[str, str]]
    examples: Sequence[tuple[np.ndarray, str]]

    def is_right(self, hit: Hit, label: str) -> bool:
        """Return whether a tile shows a scene of a class."""
        return self.labels[hit.path, hit.window[0], hit.window[1]] == label


def search_chapter(out: Path, models: Mapping[str, str], *, seed: int = 0, asked: int = 4) -> list[dict[str, Any]]:
    """Index a synthetic archive with each model, ask it, and write ``out``/report.html.

    Args:
        out: Directory; gets the archive, the index of the last model, and what it found.
        models: Name in the report to name of the encoder, the adapted one last.
        seed: Of the scenes.
        asked: Scenes of each class that are not in the archive and are asked for, by a caption and by their picture.

    Returns:
        A row a model: ``method``, ``encoder``, and mean precision among the first five tiles in per cent, for
        ``words`` and ``examples``; ``tiles`` and ``seconds`` of its index.
    """
    say("rendering an archive of four rasters")
    truth = write_archive(out / ARCHIVE, seed=seed, asked=asked)
    rows, found = [], {}
    for place, (method, encoder) in enumerate(models.items()):
        last = place == len(models) - 1
        target = out / INDEX if last else out / f"{method}.index"
        say(f"indexing the archive: {method}")
        summary = Index.build(out / ARCHIVE, target, encoder=encoder, tiles=TileConfig(size=SIZE))
        index = Index.open(target)
        rows.append({"method": method, "encoder": encoder, **_precision(index, truth),
                     "tiles": summary["tiles"], "seconds": summary["seconds"]})  # fmt: skip
        found[method] = {query: index.search(query, k=6) for query in QUERIES}
    write_json(out / "metrics.json", rows)
    _write_report(out, index, rows, found, truth)
    return rows


def write_archive(folder: Path, *, seed: int, asked: int = 4) -> Truth:
    """Write the rasters: scenes of every class side by side, each class equally often."""
    rng = np.random.default_rng(derive_seed(seed, "archive"))
    count = len(PLACES) * ACROSS * DOWN
    order = rng.permutation([DEFAULT_CLASSES[number % len(DEFAULT_CLASSES)] for number in range(count)])

    def scene(label: str, *place: Any) -> Scene:
        return render(label, derive_seed(seed, "archive", *place) % 2**31, size=SIZE)

    labels = {}
    for number, (name, place) in enumerate(PLACES.items()):
        mosaic = np.zeros((DOWN * SIZE, ACROSS * SIZE, 3), np.uint8)
        for cell in range(ACROSS * DOWN):
            row, column = cell // ACROSS * SIZE, cell % ACROSS * SIZE
            label = str(order[number * ACROSS * DOWN + cell])
            mosaic[row : row + SIZE, column : column + SIZE] = scene(label, number, cell).image
            labels[f"{name}.tif", column, row] = label
        folder.mkdir(parents=True, exist_ok=True)
        write_geotiff(folder / f"{name}.tif", mosaic.transpose(2, 0, 1), place, names=("red", "green", "blue"))
    others = [(label, scene(label, "asked", number)) for label in DEFAULT_CLASSES for number in range(asked)]
    return Truth(
        labels,
        [(one.captions[0], label) for label, one in others],
        [(one.image, label) for label, one in others],
    )


def _precision(index: Index, truth: Truth) -> dict[str, float]:
    """Return the mean share of right tiles among the first :data:`K`, in per cent."""
    by_words = [(index.search(words, k=K), label) for words, label in truth.words]
    by_example = [(index.search(image=image, k=K), label) for image, label in truth.examples]
    return {
        name: 100 * float(np.mean([truth.is_right(hit, label) for hits, label in answers for hit in hits]))
        for name, answers in (("words", by_words), ("examples", by_example))
    }


def _write_report(
    out: Path,
    index: Index,
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Sequence[Hit]]],
    truth: Truth,
) -> None:
    page = Page(
        "An archive, searched",
        f"{rows[-1]['tiles']} tiles of synthetic GeoTIFFs in four reference systems, found by words and by example.",
        eyebrow="eotune · search",
    )
    before, after = rows[0], rows[-1]
    page.cards(
        (f"Right among the first {K}, by {kind}", f"{after[key]:.0f} %", f"{before[key]:.0f} % by {before['method']}")
        for key, kind in (("words", "words"), ("examples", "example"))
    )
    page.text(
        f"Precision is the share of the first {K} tiles whose scene is of the class asked for, of which there are "
        f"{len(truth.labels) // len(DEFAULT_CLASSES)} in the archive; the mean of {len(truth.words)} captions and as "
        "many pictures of scenes that are not in it. Scenes and model are synthetic and small.",
        warning=True,
    )
    page.section("Queries", "Words typed in, and the tiles that score highest. Green: their scene is of that class.")
    for query, label in QUERIES.items():
        columns = [(method, _pictures(out, index, answers[query], truth, label)) for method, answers in found.items()]
        page.sheet(query, columns)
    _places(page, out, index, truth)
    page.section("Ask it yourself", "From the folder in which the demo was started.")
    where = out / INDEX
    page.code(
        f'eotune query {where} "white ships are moored at a concrete quay ." --bbox 7,47,8,49\n'
        f'eotune query {where} "storage tanks" --since 2024-01-01 --out found.geojson\n'
        f"eotune serve {where}"
    )
    page.text("The last one shows the archive on a page: a map, the tiles, more like this one.")
    if SCREENSHOT.is_file():
        page.image(SCREENSHOT, "eotune serve")
    write_text(out / REPORT, page.render())


def _pictures(out: Path, index: Index, hits: Sequence[Hit], truth: Truth, label: str) -> list[Picture]:
    """Return the tiles that were found as pictures, kept below ``out``."""
    pictures = []
    (out / "found").mkdir(exist_ok=True)
    with TileReader(index.manifest.tiles) as reader:
        for hit in hits:
            path = out / "found" / f"{Path(hit.path).stem}-{hit.window[0]}-{hit.window[1]}.png"
            thumbnail(index, hit, reader).save(path)
            place = Path(hit.path).stem.partition("_")[0].capitalize()
            pictures.append(Picture(path, f"{place} {hit.score:.2f}", truth.is_right(hit, label)))
    return pictures


def _places(page: Page, out: Path, index: Index, truth: Truth) -> None:
    """Add where the tiles of the first query lie, and write them for a geographic information system."""
    query, label = next(iter(QUERIES.items()))
    hits = index.search(query, k=sum(one == label for one in truth.labels.values()))
    for name in ("found.geojson", "found.png"):
        write_answers(index, hits, out / name)
    page.section("Where they lie", f"Tiles of each raster in longitude and latitude; in colour, found by “{query}”")
    drawings = []
    for name, place in PLACES.items():
        tiles = index.search(query, k=1000, where=make_filter(path=f"{name}.tif"))
        first = [hit.footprint for hit in hits if hit.path == f"{name}.tif"]
        groups = [("tile", [_unwrapped(hit.footprint) for hit in tiles]), ("tile found", map(_unwrapped, first))]
        drawings.append((f"{name.partition('_')[0].capitalize()}, {place.crs}", footprint_map(groups, title=name)))
    page.charts(drawings)
    page.link("found.geojson", "found.geojson: opens in QGIS")
    page.link("found.png", "found.png: a contact sheet")


def _unwrapped(area: Any) -> Any:
    """Return a footprint with longitudes from 0 to 360, so that the antimeridian does not tear a drawing."""
    from shapely import get_parts, transform, union_all

    return union_all(
        get_parts(transform(area, lambda points: np.stack([points[:, 0] % 360, points[:, 1]], axis=1))),
        grid_size=1e-9,
    )
