"""Recall of captions by searching an index against `eotune evaluate` of the same model.

    python benchmarks/search_recall.py RUN [--data ../shared/data/aid_rsicd_subset/captions_subset.jsonl] [--limit N]

The test images are indexed (float16 vectors on disk), each test caption is a query, and it is counted how often its
image is among the first 1, 5 and 10 tiles. The same run's figures by :func:`evaluate_retrieval`, float32 throughout,
stand beside. Target: within 0.1 points. Without the data there is nothing to do, and it says so.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from eotune.data.captions import CaptionSet, read_captions
from eotune.methods.adapted import load_model
from eotune.search.index import Index
from eotune.search.tiles import TileConfig
from eotune.tasks.retrieval import evaluate_retrieval

KS = (1, 5, 10)
TARGET = 0.1  # points
DATA = Path(__file__).parents[2] / "shared/data/aid_rsicd_subset/captions_subset.jsonl"


def linked(folder: Path, test: CaptionSet) -> dict[str, int]:
    """Fill a folder with links to the test images; return the number of the image behind each name."""
    folder.mkdir()
    names = {}
    for number, sample in enumerate(test.samples):
        path = test.path(sample)
        names[f"{number:05d}{path.suffix}"] = number
        (folder / f"{number:05d}{path.suffix}").symlink_to(path.absolute())
    return names


def searched(index: Index, test: CaptionSet, names: dict[str, int], limit: int | None) -> tuple[dict[int, float], int]:
    """Return recall at each of :data:`KS` in per cent over the captions, and how many were asked."""
    asked = [(text, number) for number, sample in enumerate(test.samples) for text in sample.captions][:limit]
    found = dict.fromkeys(KS, 0)
    for text, number in asked:
        first = [names[hit.path] for hit in index.search(text, k=max(KS))]
        for k in KS:
            found[k] += number in first[:k]
    return {k: 100 * count / len(asked) for k, count in found.items()}, len(asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="Directory of a finished retrieval run.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--limit", type=int, help="Captions; all by default.")
    options = parser.parse_args()
    if not options.data.is_file():
        sys.exit(f"{options.data}: is not there; nothing measured")
    test = read_captions(options.data, split="test")
    with tempfile.TemporaryDirectory() as temporary:
        names = linked(Path(temporary, "archive"), test)
        summary = Index.build(
            Path(temporary, "archive"), Path(temporary, "index"), encoder=f"run:{options.run}", tiles=TileConfig()
        )
        print(f"{summary['tiles']:,} tiles of {summary['images']:,} images in {summary['seconds']:.0f} s")
        started = time.perf_counter()
        recall, asked = searched(Index.open(Path(temporary, "index")), test, names, options.limit)
        print(f"{asked:,} captions in {time.perf_counter() - started:.0f} s")
    expected = evaluate_retrieval(load_model(f"run:{options.run}"), test, batch_size=128, precision="fp32").values
    worst = 0.0
    for k in KS:
        value = float(expected[f"t2i_R@{k}"])
        worst = max(worst, abs(recall[k] - value))
        print(f"R@{k:<2}: {recall[k]:.3f} % by search, {value:.3f} % by evaluate: {recall[k] - value:+.3f}")
    sys.exit(worst > TARGET and options.limit is None)


if __name__ == "__main__":
    main()
