import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[2] / "../shared"


@pytest.fixture
def real():
    """Return where a file of the real data is; skip the test where it does not lie beside the repository."""

    def find(name):
        if not (SHARED / "data" / name).exists():
            pytest.skip(f"../shared/data/{name} is not there")
        return SHARED / "data" / name

    return find


@pytest.fixture
def aid(real):
    """The real captioned set."""
    return real("aid_rsicd_subset/captions_subset.jsonl")


@pytest.fixture
def picture():
    """Smooth random RGB image, uint8 (h, w, 3), that survives JPEG and resizing."""

    def build(seed, size=(48, 48)):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))

    return build


@pytest.fixture
def jsonl(tmp_path, picture):
    """Write rows as JSONL, and an image for each that names one that may be written."""

    def build(rows, *, name="captions.jsonl", images=True, folder=tmp_path, seed=0):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
        for number, row in enumerate(rows):
            if images and isinstance(row, dict) and isinstance(row.get("image"), str) and ".." not in row["image"]:
                target = folder / row["image"]
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    Image.fromarray(picture(1000 * seed + number)).save(target)
        return folder / name

    return build
