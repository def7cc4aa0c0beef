import pyarrow as pa
import pytest
from stage_workers import samples

from eotune.core.errors import EotuneError
from eotune.engines.base import Done, Failed, failed_rows
from eotune.engines.pieces import HOPELESS, Pieces

KILLED = Failed("killed", died=True)


def answer_of(table):
    return Done(table.select(["id"]).append_column("error", pa.nulls(len(table), pa.string())))


def run(pieces, judge):
    """Answer each piece by ``judge``; return the shards and how many rows each call had."""
    shards, calls = {}, []
    while (piece := pieces.next()) is not None:
        calls.append(len(piece.table))
        for shard, table in pieces.answered(piece, judge(piece)):
            assert shard not in shards
            shards[shard] = table
    return shards, calls


def test_shards_come_in_order_and_whole():
    shards, calls = run(Pieces([3, 1], lambda shard: samples(4, start=shard)), lambda piece: answer_of(piece.table))
    assert list(shards) == [3, 1]
    assert calls == [4, 4]
    assert shards[1].column_names == ["id", "error"]


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("bad", [{0}, {"last"}, {0, "last"}])
def test_only_the_rows_at_fault_fail(rows, bad):
    bad = {f"s{rows - 1 if row == 'last' else row:04d}" for row in bad}

    def judge(piece):
        return Failed("bad") if bad & {*piece.table["id"].to_pylist()} else answer_of(piece.table)

    shards, _ = run(Pieces([0], lambda shard: samples(rows)), judge)
    assert shards[0]["id"].equals(samples(rows)["id"])
    assert {row["id"] for row in shards[0].to_pylist() if row["error"] == "bad"} == bad


def test_a_piece_is_halved_until_it_fits():
    shards, calls = run(
        Pieces([0], lambda shard: samples(8)),
        lambda piece: answer_of(piece.table) if len(piece.table) <= 2 else Failed("MemoryError"),
    )
    assert calls == [8, 4, 2, 2, 4, 2, 2]
    assert shards[0]["error"].null_count == 8


def test_a_death_costs_nothing_the_first_time():
    answers = iter([KILLED])
    shards, calls = run(Pieces([0], lambda shard: samples(8)), lambda piece: next(answers, answer_of(piece.table)))
    assert calls == [8, 8]
    assert shards[0]["error"].null_count == 8


def test_a_row_that_kills_is_found_and_asked_twice():
    def judge(piece):
        return KILLED if "s0002" in piece.table["id"].to_pylist() else answer_of(piece.table)

    shards, calls = run(Pieces([0], lambda shard: samples(4)), judge)
    assert calls == [4, 4, 2, 2, 1, 1, 1]
    assert shards[0]["error"].to_pylist() == [None, None, "killed", None]


def test_parts_put_together_have_the_columns_of_those_that_succeeded():
    def judge(piece):
        if "s0000" in piece.table["id"].to_pylist():
            return Failed("bad")
        return Done(piece.table.append_column("error", pa.nulls(len(piece.table), pa.string())))

    shards, _ = run(Pieces([0], lambda shard: samples(4)), judge)
    assert shards[0].column_names == ["id", "text", "error"]
    assert shards[0]["text"].to_pylist()[0] is None


def test_an_empty_shard_is_one_too():
    shards, _ = run(Pieces([0], lambda shard: samples(0)), lambda piece: Done(failed_rows(piece.table, "")))
    assert len(shards[0]) == 0


def test_row_after_row_failing_ends_the_stage():
    with pytest.raises(EotuneError, match=rf"{HOPELESS} rows failed one after the other, the last 's0031': no GPU"):
        run(Pieces([0], lambda shard: samples(100)), lambda piece: Failed("no GPU"))


def test_rows_that_succeed_between_keep_it_going():
    def judge(piece):
        last = int(piece.table["id"].to_pylist()[-1][1:])
        return Failed("bad") if len(piece.table) > 1 or last % 8 else answer_of(piece.table)

    shards, _ = run(Pieces([0], lambda shard: samples(100)), judge)
    assert shards[0]["error"].null_count == 13
