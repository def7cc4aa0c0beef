"""What is left to compute of a stage: shards cut smaller where a call fails, put together where all rows are known."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from eotune.core.errors import EotuneError, shown
from eotune.engines.base import Done, Failed, Piece, failed_rows

# So many rows failing one after the other, each in a call of its own, is no matter of single rows: the model is too
# large for the machine, the device is lost, the worker is wrong.
HOPELESS = 32


class Pieces:
    """The pieces of a stage's shards.

    A call that fails is tried again on the first and the second half of its rows, down to the single row, which then
    has its reason as an error. A worker that died may have been killed for reasons of its own, so that its piece is
    tried once more as it was: results do not depend on that.

    Args:
        shards: Those to compute, in order.
        read: Returns a shard's rows.
    """

    def __init__(self, shards: Iterable[int], read: Callable[[int], pa.Table]) -> None:
        self._unread, self._read = iter(shards), read
        self._pieces: deque[Piece] = deque()
        self._rows: dict[int, int] = {}
        self._parts: dict[int, dict[int, pa.Table]] = {}
        self._failed_in_a_row = 0

    def next(self) -> Piece | None:
        """Return the next piece to compute, or None where there is none for now."""
        if self._pieces:
            return self._pieces.popleft()
        shard = next(self._unread, None)
        if shard is None:
            return None
        table = self._read(shard)
        self._rows[shard], self._parts[shard] = len(table), {}
        return Piece(shard, 0, table)

    def answered(self, piece: Piece, answer: Done | Failed) -> Iterator[tuple[int, pa.Table]]:
        """Take in what came of a piece, and yield its shard with all its rows where that was the last of it.

        Raises:
            EotuneError: Row after row fails: going on has no use.
        """
        if isinstance(answer, Done):
            self._failed_in_a_row = 0
            yield from self._add(piece, answer.table)
        elif len(piece.table) == 1 and not self._is_worth_another(piece, answer):
            self._failed_in_a_row += 1
            if self._failed_in_a_row == HOPELESS:
                row = shown(piece.table["id"][0].as_py())
                raise EotuneError(f"{HOPELESS} rows failed one after the other, the last {row}: {answer.reason}")
            yield from self._add(piece, failed_rows(piece.table, answer.reason))
        else:
            self._pieces.extendleft(reversed(list(self._smaller(piece, answer))))

    def _is_worth_another(self, piece: Piece, answer: Failed) -> bool:
        is_whole = len(piece.table) == self._rows[piece.shard]
        return answer.died and not piece.again and (is_whole or len(piece.table) == 1)

    def _smaller(self, piece: Piece, answer: Failed) -> Iterator[Piece]:
        if self._is_worth_another(piece, answer):
            yield Piece(piece.shard, piece.start, piece.table, again=True)
            return
        half = len(piece.table) // 2
        # Copies: a slice would take the whole shard along when it is sent to another process.
        yield Piece(piece.shard, piece.start, piece.table.take(list(range(half))))
        yield Piece(piece.shard, piece.start + half, piece.table.take(list(range(half, len(piece.table)))))

    def _add(self, piece: Piece, table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        parts = self._parts[piece.shard]
        parts[piece.start] = table
        if sum(map(len, parts.values())) == self._rows[piece.shard]:
            del self._parts[piece.shard], self._rows[piece.shard]
            yield piece.shard, _joined([parts[start] for start in sorted(parts)])


def _joined(parts: list[pa.Table]) -> pa.Table:
    """Put parts together; one whose rows all failed lacks the columns of the others."""
    table = pa.concat_tables(parts, promote_options="default")
    others = [name for name in table.column_names if name not in ("id", "error")]
    return table.select(["id", *others, "error"])
