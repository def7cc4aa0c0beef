"""Experiment trackers, by the names that transformers knows them by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eotune.core.errors import InputError, MissingExtraError
from eotune.core.lookup import unknown_name


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that nobody knows or that are not installed, before anything is written.

    Args:
        names: ``training.report_to`` of a recipe.

    Raises:
        InputError: One is unknown, or its package is missing; the message says what to install.

    Example:
        >>> try:
        ...     check_trackers(["tensorbord"])
        ... except InputError as error:
        ...     print(str(error).partition("?")[0])
        unknown tracker in training.report_to 'tensorbord'; did you mean 'tensorboard'
    """
    if not names:
        return
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise unknown_name("tracker in training.report_to", name, INTEGRATION_TO_CALLBACK)
        if name in get_available_reporting_integrations():
            continue
        if name == "tensorboard":
            raise MissingExtraError("tensorboard", "tensorboard")
        raise InputError(
            f"training.report_to: the package of {name!r} is not installed", remedy="install it, or leave it out"
        )


def tracker_callbacks(names: Sequence[str], directory: Path) -> list[Any]:
    """Return transformers' callbacks for trackers that :func:`check_trackers` let through.

    Args:
        names: Of the trackers.
        directory: Where TensorBoard's files go; the others go by their own environment variables.
    """
    if not names:
        return []
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    callbacks = [INTEGRATION_TO_CALLBACK[name]() for name in names]
    for name, callback in zip(names, callbacks, strict=True):
        if name == "tensorboard":
            callback.logging_dir = str(directory)  # made at the first event, by the main process
    return callbacks
