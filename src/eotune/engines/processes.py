"""Workers in processes of this machine, each on a pipe: one that dies is replaced, and its piece comes back."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from eotune.core.errors import EotuneError
from eotune.engines.base import Done, Failed, Fatal, Piece, WorkerClass, call, start

# A worker that goes down before it is ready this often in a row does so of itself.
STARTS = 3


@contextmanager
def processes(worker: WorkerClass, config: Any, count: int) -> Iterator["ProcessPool"]:
    """Start ``count`` workers; leaving the context ends them."""
    pool = ProcessPool(pickle.dumps((worker, config)), count)
    try:
        yield pool
    finally:
        pool.close()


@dataclass
class _Member:
    process: BaseProcess
    connection: Connection
    is_ready: bool = False
    piece: Piece | None = None


class ProcessPool:
    """Processes that each compute one piece at a time.

    Args:
        recipe: The pickled worker class and its settings.
        count: How many processes.
    """

    def __init__(self, recipe: bytes, count: int) -> None:
        self.capacity = count
        self._recipe = recipe
        self._queue: deque[Piece] = deque()
        self._failed_starts = 0
        self._members = [self._started() for _ in range(count)]

    def submit(self, piece: Piece) -> None:
        """Have a piece computed by the next process that is free."""
        self._queue.append(piece)
        self._hand_out()

    def wait(self) -> tuple[Piece, Done | Failed]:
        """Return a piece that is finished."""
        while True:
            ready = wait([member.connection for member in self._members])
            member = next(member for member in self._members if member.connection in ready)
            try:
                reply = member.connection.recv()
            except (EOFError, OSError):
                if (lost := self._replaced(member)) is not None:
                    return lost
                continue
            if isinstance(reply, Fatal):
                raise reply.error
            piece, member.piece, member.is_ready = member.piece, None, True
            self._failed_starts = 0
            self._hand_out()
            if piece is not None:
                return piece, reply

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for member in self._members:
            member.process.kill()  # nothing of theirs is worth waiting for: what they write is in answers
            member.connection.close()
        for member in self._members:
            member.process.join()
            member.process.close()

    def _hand_out(self) -> None:
        for member in self._members:
            if self._queue and member.is_ready and member.piece is None:
                member.piece = self._queue.popleft()
                with suppress(OSError):  # it died idle: reading from it says so
                    member.connection.send(member.piece.table)

    def _replaced(self, member: _Member) -> tuple[Piece, Failed] | None:
        """Start a process in the place of one that died, and return the piece that it had."""
        member.process.join(timeout=10)
        member.process.kill()  # where it closed its pipe and lives on
        member.process.join()
        reason = _cause_of_death(member.process.exitcode)
        member.connection.close()
        member.process.close()
        if not member.is_ready:
            self._failed_starts += 1
            if self._failed_starts == STARTS:
                self._members.remove(member)
                raise EotuneError(f"a worker cannot be started: {reason}; ask for fewer workers")
        self._members[self._members.index(member)] = self._started()
        return None if member.piece is None else (member.piece, Failed(reason, died=True))

    def _started(self) -> _Member:
        # Spawned: a fork of a process that has threads or a GPU in use is broken.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = max(1, cores // self.capacity)
        process = context.Process(target=_serve, args=(there, self._recipe, threads), daemon=True)
        process.start()
        there.close()  # the end of the pipe is then the worker's alone, and closes when it dies
        return _Member(process, here)


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "its worker was killed, most often for want of memory"
    if exit_code is not None and exit_code < 0:
        return f"its worker died of {signal.Signals(-exit_code).name}"
    return f"its worker ended with exit status {exit_code}"


def _serve(connection: Connection, recipe: bytes, threads: int) -> None:
    """Compute pieces until the parent is gone; runs in the worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read when torch is imported, by the next line
    worker = start(*pickle.loads(recipe))
    connection.send(worker if isinstance(worker, Fatal) else None)
    while not isinstance(worker, Fatal):
        try:
            connection.send(call(worker, connection.recv()))
        except (EOFError, OSError):
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    os._exit(1)
