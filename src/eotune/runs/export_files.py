"""What every export does with the files that it writes, and with those of the run that its card is made of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yaml import YAMLError

from eotune.core.errors import InputError
from eotune.encoders.pretrained import first_line


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of every file below a folder, by its path in there."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in found}


@contextmanager
def card_needs(run: Path, files: str) -> Iterator[None]:
    """Say what a model card needs where the run's files are broken.

    Args:
        run: The run directory.
        files: Which of its files the card reads, as the remedy names them.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, YAMLError) as error:
        raise InputError(
            f"{run}: its files do not say what a model card needs ({type(error).__name__}: {first_line(error)})",
            remedy=f"restore {files}, or run the recipe again",
        ) from None
