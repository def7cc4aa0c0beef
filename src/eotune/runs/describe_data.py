"""What a run says of its data: files, sizes and checksums of the splits, and what these share."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eotune.core.errors import InputError
from eotune.core.files import sha256
from eotune.core.progress import say
from eotune.data.captions import listed_error
from eotune.data.inventory import Inventory
from eotune.data.leaks import LONG_CAPTION
from eotune.runs.workshop import Workshop
from eotune.tasks.retrieval import CaptionData, RetrievalConfig, RetrievalData
from eotune.training.processes import is_main

SPLITS = ("train", "validation", "test", "retention")
_PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"), ("train", "retention"))


def describe_data(task: RetrievalConfig, data: RetrievalData, workshop: Workshop) -> dict[str, Any]:
    """Return data.json: files with checksums, sizes and checksums of splits, and what they share.

    Raises:
        InputError: Images cannot be read.
    """
    splits = [split for split in SPLITS if getattr(data, split) is not None]
    configs = [getattr(task, split) for split in splits]
    files = {str(one.captions): sha256(one.captions) for one in configs if isinstance(one, CaptionData)}
    taken = {
        split: workshop.inventory(getattr(data, split), bands=task.bands(split))  # type: ignore[arg-type]
        for split in splits
    }
    problems = [problem for inventory in taken.values() for problem in inventory.problems]
    if problems:
        raise listed_error("images", problems, remedy="`eotune check` lists every bad file of a data set")
    shared = {f"{a} and {b}": workshop.leaks(taken[a], taken[b]).to_dict() for a, b in _PAIRS if b in taken}
    return {"files": files, "splits": {split: _of_split(one) for split, one in taken.items()}, "leaks": shared}


def judge_leaks(found: Mapping[str, Mapping[str, Any]], *, strict: bool) -> None:
    """Warn of splits that share images, and of test captions that were trained on.

    Raises:
        InputError: Training and test share images, and ``strict`` forbids it. Captions are no reason: of the published
            sets, hardly a split is free of them.
    """
    known = found.get("train and test", {})
    if known.get("images_with_shared_long_caption") and is_main():
        say(
            f"warning: {known['images_with_shared_long_caption']:,} of {known['images']:,} test images have a caption "
            f"of {LONG_CAPTION} words or more that stands in training; `eotune check` lists them"
        )
    for pair, report in found.items():
        for kind, what in (
            ("shared_images", "share {} images"),
            ("shared_origins", "have {} images cut from the same sources"),
        ):
            if not report.get(kind):
                continue
            message = f"{pair} {what.format(report[kind])}"
            if strict and pair == "train and test":
                remedy = "remove them from training (eotune check lists them), or drop --strict"
                raise InputError(message, remedy=remedy)
            if is_main():
                say(f"warning: {message}; figures of the second are too good by that")


def _of_split(inventory: Inventory) -> dict[str, Any]:
    """Return a split's sizes and its checksum: equal exactly where images and captions are, in the same order."""
    digest = hashlib.sha256()
    for pixels, sample in zip(inventory.pixels(), inventory.captions.samples, strict=True):
        digest.update(pixels or b"")
        digest.update(json.dumps(sample.captions).encode())
    captions = sum(len(sample.captions) for sample in inventory.captions.samples)
    return {"images": len(inventory.captions), "captions": captions, "sha256": digest.hexdigest()}
