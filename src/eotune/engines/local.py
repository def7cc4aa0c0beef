"""The engine of one machine: this process, or several beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from eotune.engines.base import Done, Failed, Fatal, Piece, Pool, Worker, WorkerClass, call, start
from eotune.engines.processes import processes


@dataclass(frozen=True)
class LocalEngine:
    """Runs workers on this machine.

    Args:
        workers: One runs in this process; more run in as many processes, so that one that dies takes nothing along.
    """

    workers: int | None = None

    @contextmanager
    def pool(self, worker: WorkerClass, config: Any, *, at_most: int) -> Iterator[Pool]:
        """Start the workers; leaving the context ends them."""
        count = self.workers or 1
        if count == 1:
            yield _InProcess(worker, config)
            return
        with processes(worker, config, min(count, at_most)) as pool:
            yield pool


class _InProcess:
    capacity = 1

    def __init__(self, worker: WorkerClass, config: Any) -> None:
        started = start(worker, config)
        if isinstance(started, Fatal):
            raise started.error
        self._worker: Worker = started
        self._piece: Piece

    def submit(self, piece: Piece) -> None:
        self._piece = piece

    def wait(self) -> tuple[Piece, Done | Failed]:
        reply = call(self._worker, self._piece.table)
        if isinstance(reply, Fatal):
            raise reply.error
        return self._piece, reply
