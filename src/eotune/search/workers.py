"""What engines run to build an index: tiles to vectors, the next ones read while the model works."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eotune.core.device import on_best_device
from eotune.core.errors import InputError
from eotune.methods.adapted import load_model
from eotune.search.tiles import TileConfig, TileReader

_NOT_FINITE = "its vector is not finite; use precision fp32"


@dataclass(frozen=True)
class EmbedConfig:
    """What embeds tiles.

    Attributes:
        folder: The archive's.
        encoder: Name of a dual encoder.
        image_size: Side in pixels; None for its own.
        tiles: How they were cut.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        batch_size: Tiles at once.
    """

    folder: str
    encoder: str
    image_size: int | None
    tiles: TileConfig
    precision: str = "fp32"
    batch_size: int = 32


class EmbedTiles:
    """Embeds tiles; those with too little data get no vector, those that cannot be read fail with the reason.

    Args:
        config: By what.

    Raises:
        InputError: The encoder cannot be read.
    """

    runs_model = True

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config
        self.encoder: Any = on_best_device(load_model(config.encoder, config.image_size))

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return ``embedding``, float16 of unit length, null where there is too little data."""
        vectors: list[np.ndarray | None] = []
        errors: list[str | None] = []
        for batch in _ahead(self._batches(table)):
            found = self._embedded([image for image in batch if isinstance(image, np.ndarray)])
            for image in batch:
                vector = next(found) if isinstance(image, np.ndarray) else None
                good = vector is None or bool(np.isfinite(vector).all())
                vectors.append(vector if good else None)
                errors.append(image if isinstance(image, str) else None if good else _NOT_FINITE)
        dim = self.encoder.dim
        flat = np.concatenate([np.zeros(dim, np.float16) if one is None else one for one in vectors])
        missing = pa.array([one is None for one in vectors])
        stored = pa.FixedSizeListArray.from_arrays(pa.array(flat), dim, mask=missing)
        return table.append_column("embedding", stored).append_column("error", pa.array(errors, pa.string()))

    def _batches(self, table: pa.Table) -> Iterator[list[Any]]:
        """Yield tiles as the model takes them, None for those without data, the reason for those that failed."""
        with TileReader(self.config.tiles) as reader:
            for start in range(0, len(table), self.config.batch_size):
                rows = table.slice(start, self.config.batch_size).to_pylist()
                yield [self._prepared(reader, row) for row in rows]

    def _prepared(self, reader: TileReader, row: dict[str, Any]) -> Any:
        window = (row["column"], row["row"], row["width"], row["height"])
        try:
            image = reader.read(Path(self.config.folder) / row["path"], window)
            return None if image is None else self.encoder.transform(image)
        except InputError as error:
            return str(error)

    def _embedded(self, images: list[np.ndarray]) -> Iterator[np.ndarray]:
        import torch

        if images:
            pixels = torch.from_numpy(np.stack(images))
            yield from self.encoder.embed_pixels(pixels, precision=self.config.precision).astype(np.float16)


def _ahead(batches: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """Yield batches, each read by another thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch
