"""How a run reads its bands, kept with its adapter: new images are scaled as the training images were."""

from pathlib import Path

from eotune.core.config import Config, parse
from eotune.core.errors import InputError
from eotune.core.files import read_json, write_json
from eotune.data.band_statistics import BandInput, BandReader, BandStatistics

BANDS = "bands.json"


class _Saved(Config):
    input: BandInput
    statistics: BandStatistics


def save_bands(adapter: Path, config: BandInput, statistics: BandStatistics) -> None:
    """Write ``bands.json`` into the adapter's folder."""
    write_json(adapter / BANDS, _Saved(input=config, statistics=statistics).model_dump(mode="json"))


def read_saved_bands(adapter: Path) -> BandReader:
    """Return what reads images as the run's training images were read.

    Raises:
        InputError: The file is missing or broken.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> one = BandStatistics(names=("VV",), low=(-20,), high=(0,), mean=(0.5,), std=(0.2,))
        >>> save_bands(folder, BandInput(), one)
        >>> read_saved_bands(folder) == BandReader(BandInput(), one)
        True
    """
    values = read_json(adapter / BANDS)
    if not isinstance(values, dict):
        raise InputError(f"{adapter / BANDS}: holds no JSON object", remedy="run the recipe again")
    saved = parse(_Saved, values, source=str(adapter / BANDS))
    return BandReader(saved.input, saved.statistics)
