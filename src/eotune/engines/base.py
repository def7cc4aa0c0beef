"""What a worker, an engine and its pool are; the one place where a worker is called and its answer checked."""

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from eotune.core.errors import EotuneError, InputError, shown

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class Worker(Protocol):
    """Holds what is costly to load, made once a process from its settings, and computes rows.

    Its answer has the ``id`` column that it was given, row for row, and any others. A row that cannot be computed has
    the reason in a string column ``error`` and null elsewhere; an exception costs no row but the one that raises it.

    A class may say by ``runs_model`` whether it runs one: if so, it is given a GPU where a Ray cluster has any; if not,
    none even where others are.
    """

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return one row for every row of ``table``."""


WorkerClass = Callable[[Any], Worker]


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a shard, to be computed by one call.

    Attributes:
        shard: Which shard.
        start: Its first row's place in the shard.
        table: The rows.
        again: Whether a worker died of it before.
    """

    shard: int
    start: int
    table: pa.Table
    again: bool = False


@dataclass(frozen=True)
class Done:
    """A worker's checked answer."""

    table: pa.Table


@dataclass(frozen=True)
class Failed:
    """A call that gave no answer: its rows are to be tried in smaller pieces.

    Attributes:
        reason: In one line.
        died: Whether the whole worker went down, which need not be the rows' fault.
    """

    reason: str
    died: bool = False


@dataclass(frozen=True)
class Fatal:
    """What ends the stage: no piece of it could be computed."""

    error: EotuneError | OSError

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the command line shows: not every error can be rebuilt from its arguments."""
        if isinstance(self.error, OSError):
            return _fatal_os, (self.error.errno, self.error.strerror, self.error.filename)
        return _fatal, (isinstance(self.error, InputError), str(self.error))


Reply = Done | Failed | Fatal


class Pool(Protocol):
    """Workers that are running."""

    @property
    def capacity(self) -> int:
        """How many pieces may be submitted and not yet returned."""

    def submit(self, piece: Piece) -> None:
        """Have a piece computed."""

    def wait(self) -> tuple[Piece, Done | Failed]:
        """Return a piece that is finished, in any order.

        Raises:
            EotuneError: No worker can be started.
            OSError: A worker's disk is full.
        """


class Engine(Protocol):
    """Where workers run."""

    def pool(self, worker: WorkerClass, config: Any, *, at_most: int) -> AbstractContextManager[Pool]:
        """Start at most ``at_most`` workers; leaving the context ends them."""


def start(worker: WorkerClass, config: Any) -> Worker | Fatal:
    """Make a worker, or say why there can be none."""
    try:
        return worker(config)
    except EotuneError as error:
        return Fatal(error)
    except Exception as error:
        wrapped = EotuneError(f"a worker cannot be started ({one_line(error)})")
        wrapped.__cause__ = error
        return Fatal(wrapped)


def call(worker: Worker, table: pa.Table) -> Reply:
    """Call a worker and check its answer. It is not asked for no rows: they may have no columns either."""
    if not len(table):
        return Done(failed_rows(table, ""))
    try:
        return Done(_checked(worker(table), table))
    except OSError as error:
        return Fatal(error) if error.errno in FULL_DISK else Failed(one_line(error))
    except Exception as error:
        return Failed(one_line(error))


def one_line(error: BaseException) -> str:
    r"""Return an error as one readable line.

    Example:
        >>> one_line(ValueError("a\nb")), one_line(MemoryError())
        ('ValueError: a b', 'MemoryError')
    """
    words = " ".join(str(error).split())[:300]
    if isinstance(error, EotuneError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def failed_rows(table: pa.Table, reason: str) -> pa.Table:
    """Return the ids of ``table`` with ``reason`` as the error of each."""
    return pa.table({"id": table["id"], "error": pa.array([reason] * len(table), pa.string())})


def _checked(answer: Any, table: pa.Table) -> pa.Table:
    if not isinstance(answer, pa.Table) or "id" not in answer.column_names:
        raise TypeError(f"a worker returned {shown(answer)}, not a table with an 'id' column")
    if not answer["id"].equals(table["id"]):
        raise ValueError("a worker returned other ids than it was given, or in another order")
    if "error" not in answer.column_names:
        return answer.append_column("error", pa.nulls(len(answer), pa.string()))
    return answer.set_column(answer.column_names.index("error"), "error", answer["error"].cast(pa.string()))


def _fatal(wrong_input: bool, message: str) -> Fatal:
    return Fatal(InputError(message) if wrong_input else EotuneError(message))


def _fatal_os(number: int, message: str, name: str | None) -> Fatal:
    return Fatal(OSError(number, message, name) if name else OSError(number, message))
