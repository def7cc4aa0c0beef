"""The bundled dual encoder: a few million parameters, trained on synthetic ground-level pictures."""

from pathlib import Path

from eotune.core.errors import InputError
from eotune.encoders.hf import HFDualEncoder, load_hf

WEIGHTS = Path(__file__).with_name("tiny_weights")


def load_tiny(*, image_size: int | None = None) -> HFDualEncoder:
    """Load the encoder that comes inside the package; overhead scenes are new to it.

    Args:
        image_size: Side of the square that it sees; None takes its own, 64.

    Raises:
        InputError: The package was installed without its weights.
    """
    if not (WEIGHTS / "config.json").is_file():
        raise InputError(f"{WEIGHTS}: the bundled weights are missing", remedy="install eotune again")
    return load_hf(str(WEIGHTS), image_size=image_size)
