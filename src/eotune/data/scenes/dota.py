"""A scene's boxes as a DOTA label file."""

from collections.abc import Sequence
from pathlib import Path

from eotune.core.files import write_text
from eotune.data.scenes.render import SceneBox


def dota_lines(boxes: Sequence[SceneBox], *, ground_sampling: float | None = None) -> str:
    """Return boxes as DOTA's ``labelTxt`` has them: a head, then ``x1 y1 ... x4 y4 class difficult`` a line.

    Args:
        boxes: Of one scene; none is difficult.
        ground_sampling: Metres a pixel, for the head; null where it is not known.

    Source:
        Xia et al., DOTA, CVPR 2018; the file layout of DOTA-v1.0.

    Example:
        >>> import numpy as np
        >>> square = np.array([(1, 1), (3, 1), (3, 3), (1, 3)], np.float32)
        >>> print(dota_lines([SceneBox("ship", square)]), end="")
        imagesource:synthetic
        gsd:null
        1.0 1.0 3.0 1.0 3.0 3.0 1.0 3.0 ship 0
    """
    head = ["imagesource:synthetic", f"gsd:{'null' if ground_sampling is None else ground_sampling}"]
    rows = [" ".join(f"{value:.1f}" for value in box.corners.flat) + f" {box.label} 0" for box in boxes]
    return "\n".join(head + rows) + "\n"


def write_dota(path: Path, boxes: Sequence[SceneBox], *, ground_sampling: float | None = None) -> None:
    """Write :func:`dota_lines` to a file, atomically."""
    write_text(Path(path), dota_lines(boxes, ground_sampling=ground_sampling))
