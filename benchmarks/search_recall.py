"""Recall of captions by searching an index against `eotune evaluate` of the same model.

    python benchmarks/search_recall.py RUN [--data ../shared/data/aid_rsicd_subset/captions_subset.jsonl] [--limit N]
        [--show N] [--sheets FOLDER]

The test images are indexed (float16 vectors on disk), each test caption is a query, and it is counted how often its
image is among the first 1, 5 and 10 tiles. The same run's figures by :func:`evaluate_retrieval`, float32 throughout,
stand beside. Target: within 0.1 points. Without the data there is nothing to do, and it says so.

``--show`` prints a table of N captions drawn at random, of different images: the rank of the caption's image, and the
classes of the five tiles found first; ``--sheets`` writes those as contact sheets.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from eotune.data.captions import CaptionSet, read_captions
from eotune.methods.adapted import load_model
from eotune.search.answers import write_answers
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


def shown(index: Index, test: CaptionSet, names: dict[str, int], count: int, sheets: Path | None) -> None:
    """Print a table of some captions and what they find; write what they find as pictures."""
    random = np.random.default_rng(0)
    print("| caption | its class | rank of its image | classes of the first five |\n|---|---|---|---|")
    for number in sorted(random.choice(len(test.samples), count, replace=False).tolist()):
        sample = test.samples[number]
        text = str(random.choice(sample.captions))
        hits = index.search(text, k=len(test.samples))
        rank = 1 + [names[hit.path] for hit in hits].index(number)
        kinds = Counter(test.samples[names[hit.path]].label for hit in hits[:5])
        found = ", ".join(f"{kind} {times}" for kind, times in kinds.most_common())
        print(f"| {text} | {sample.label} | {rank} | {found} |")
        if sheets is not None:
            sheets.mkdir(parents=True, exist_ok=True)
            write_answers(index, hits[:10], sheets / f"{number:05d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="Directory of a finished retrieval run.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--limit", type=int, help="Captions; all by default.")
    parser.add_argument("--show", type=int, default=0, help="Captions of the table.")
    parser.add_argument("--sheets", type=Path, help="Folder for contact sheets of those captions.")
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
        index = Index.open(Path(temporary, "index"))
        recall, asked = searched(index, test, names, options.limit)
        print(f"{asked:,} captions in {time.perf_counter() - started:.0f} s")
        if options.show:
            shown(index, test, names, options.show, options.sheets)
    expected = evaluate_retrieval(load_model(f"run:{options.run}"), test, batch_size=128, precision="fp32").values
    worst = 0.0
    for k in KS:
        value = float(expected[f"t2i_R@{k}"])
        worst = max(worst, abs(recall[k] - value))
        print(f"R@{k:<2}: {recall[k]:.3f} % by search, {value:.3f} % by evaluate: {recall[k] - value:+.3f}")
    sys.exit(worst > TARGET and options.limit is None)


if __name__ == "__main__":
    main()
