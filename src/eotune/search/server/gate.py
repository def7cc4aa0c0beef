"""So much work at once and no more: a few threads, a queue in front of them, an answer at once where it is full."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread

Result = TypeVar("Result")


class BusyError(Exception):
    """The queue is full; come again in a moment."""


class Gate:
    """Runs blocking work in threads.

    Args:
        workers: Calls that are worked on at once.
        waiting: Calls that may wait for that.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._limiter = anyio.CapacityLimiter(workers)
        self._most = workers + waiting
        self._inside = 0

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Call ``work`` in a thread and return what it returns.

        Raises:
            BusyError: As many calls as may wait do.
        """
        if self._inside >= self._most:
            raise BusyError
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(work, *arguments, limiter=self._limiter)
        finally:
            self._inside -= 1


class OneAtATime:
    """An encoder that several threads share: embeds for one of them at a time.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()

    def embed_texts(self, texts: list[str]) -> Any:
        """See :class:`~eotune.encoders.base.DualEncoder`."""
        with self._lock:
            return self._encoder.embed_texts(texts)

    def embed_images(self, images: list[Any]) -> Any:
        """See :class:`~eotune.encoders.base.DualEncoder`."""
        with self._lock:
            return self._encoder.embed_images(images)
