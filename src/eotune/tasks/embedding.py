"""Embeddings of a data set as a Parquet file."""

from pathlib import Path
from typing import Any

import numpy as np

from eotune.core.device import on_best_device
from eotune.core.errors import InputError
from eotune.core.files import replaced
from eotune.core.lookup import unknown_name
from eotune.core.progress import progress
from eotune.data.captions import read_captions
from eotune.data.images import IMAGE_SUFFIXES, read_image
from eotune.methods.adapted import load_model


def embed_data(
    data: Path,
    name: str,
    out: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    image_size: int | None = None,
    precision: str = "fp32",
    batch_size: int = 128,
) -> dict[str, Any]:
    """Embed a folder of images, or the images and captions of a caption file, into a Parquet file.

    Columns: ``path``, ``kind`` (image or text), ``text``, ``embedding`` (fixed-size list of float32, unit length). The
    file's metadata name the encoder and its fingerprint. Nothing is written unless everything could be embedded.

    Raises:
        InputError: The data or the encoder is wrong.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if precision not in ("fp32", "bf16", "fp16"):
        raise unknown_name("precision", precision, ["fp32", "bf16", "fp16"])
    paths, texts = _items(data, images, split)
    encoder = on_best_device(load_model(name, image_size=image_size))
    vectors = [
        encoder.embed_images(
            [read_image(p) for p in paths[i : i + batch_size]], batch_size=batch_size, precision=precision
        )
        for i in progress(range(0, len(paths), batch_size), description="embedding")
    ]
    if texts:
        vectors.append(encoder.embed_texts([text for _, text in texts], batch_size=batch_size, precision=precision))
    flat = pa.array(np.concatenate(vectors).astype(np.float32).ravel())
    table = pa.table(
        {
            "path": [str(p) for p in paths] + [str(p) for p, _ in texts],
            "kind": ["image"] * len(paths) + ["text"] * len(texts),
            "text": pa.array([None] * len(paths) + [text for _, text in texts], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, encoder.dim),
        }
    ).replace_schema_metadata({"encoder": name, "fingerprint": encoder.fingerprint(), "precision": precision})
    with replaced(out) as temporary:
        pq.write_table(table, temporary)
    return {"rows": table.num_rows, "dim": encoder.dim, "encoder": name, "out": str(out)}


def _items(data: Path, images: Path | None, split: str | None) -> tuple[list[Path], list[tuple[Path, str]]]:
    if data.is_dir():
        paths = sorted(file for file in data.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise InputError(f"{data}: no images below it", remedy=f"known are {', '.join(sorted(IMAGE_SUFFIXES))}")
        return paths, []
    captions = read_captions(data, images=images, split=split)
    pairs = [(captions.path(sample), text) for sample in captions.samples for text in sample.captions]
    return captions.paths(), pairs
