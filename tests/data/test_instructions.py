import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eotune.core.errors import InputError
from eotune.data import instruction_json
from eotune.data.instruction_files import write_subset
from eotune.data.instructions import BadRecord, InstructionSample, Turn, _warn_of_nested, open_instructions
from eotune.data.scenes import write_instructions


def record(number=0, **changes):
    turns = [{"from": "human", "value": f"<image>\nQuestion {number}?"}, {"from": "gpt", "value": f"Answer {number}."}]
    return {"id": f"r{number}", "image": f"{number}.png", "conversations": turns, **changes}


@pytest.fixture
def written(tmp_path):
    """Write records in a container, with their images."""

    def build(rows, name="set.json", images=True):
        path = tmp_path / name
        if name.endswith(".parquet"):
            path.parent.mkdir(exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
        elif name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            path.write_text(json.dumps(rows, indent=1))
        for number in range(len(rows) if images else 0):
            (tmp_path / f"{number}.png").touch()
        return path

    return build


def samples(path, **options):
    return list(open_instructions(path, **options).samples())


@pytest.mark.parametrize("name", ["set.json", "set.jsonl", "set.parquet"])
def test_every_container_gives_the_same_samples(written, name):
    path = written([record(n) for n in range(5)], name)
    source = open_instructions(path)
    assert (source.format, source.container, source.root) == ("conversations", path.suffix[1:], path.parent)
    found = list(source.samples())
    assert found == list(source.samples())
    assert [(one.id, one.row, one.images) for one in found] == [(f"r{n}", n, (f"{n}.png",)) for n in range(5)]
    assert found[3].turns == (Turn("user", "<image>\nQuestion 3?"), Turn("assistant", "Answer 3."))
    assert (found[3].question, found[3].answer) == ("Question 3?", "Answer 3.")
    assert [found[3].text(kind) for kind in ("both", "question", "answer")] == [
        "Question 3?\nAnswer 3.", "Question 3?", "Answer 3.",
    ]  # fmt: skip


def test_samples_of_some_images_are_passed_over_and_rows_stay(written):
    rows = [record(n) for n in range(4)] + [record(4, image="./1.png"), record(5, image=["0.png", "2.png"])]
    found = samples(written(rows), without=["1.png", "x/../2.png"])
    assert [(one.id, one.row) for one in found] == [("r0", 0), ("r3", 3)]


def test_images_to_pass_over_may_be_absolute_and_must_be_there(written, tmp_path):
    path = written([record(0), record(1, image=str(tmp_path / "1.png")), record(2)])
    found = samples(path, without=[str(tmp_path / "x/../0.png"), "1.png"])
    assert [one.id for one in found] == ["r2"]
    with pytest.raises(InputError, match=r"without: no image 'set/0.png' in .*; name images by their paths in the set"):
        open_instructions(path, without=["0.png", "set/0.png"])


@pytest.mark.parametrize("name", ["lines.json", "lines.txt", "lines.ndjson"])
def test_lines_are_known_by_their_look(written, name):
    path = written([record(n) for n in range(3)], "set.jsonl")
    assert open_instructions(path.rename(path.with_name(name))).container == "jsonl"


def test_parquet_is_known_by_its_look(written):
    path = written([record(n) for n in range(3)], "set.parquet")
    path = path.rename(path.with_name("set"))
    assert open_instructions(path).container == "parquet"
    assert len(samples(path)) == 3


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path):
    columns = [["1.png"], ["a port"], ["2.png"], [1], [2]]
    for names, wrong in ((["image", "caption", "image", "x", "y"], True), (["image", "caption", "z", "x", "x"], False)):
        pq.write_table(pa.Table.from_arrays(list(map(pa.array, columns)), names=names), tmp_path / "a.parquet")
        if wrong:
            with pytest.raises(InputError, match="a.parquet: has the column 'image' twice; remove or rename"):
                open_instructions(tmp_path / "a.parquet", check_files=False)
        else:
            assert len(list(open_instructions(tmp_path / "a.parquet", check_files=False).samples())) == 1


def test_a_folder_of_parquet_files_is_read_by_name(written, tmp_path):
    written([record(n) for n in (2, 3)], "set/b.parquet", images=False)
    written([record(n) for n in (0, 1)], "set/a.parquet", images=False)
    for number in range(4):
        (tmp_path / "set" / f"{number}.png").touch()
    assert [(one.id, one.row) for one in samples(tmp_path / "set")] == [(f"r{n}", n) for n in range(4)]


def test_ids_that_nobody_asks_for_may_be_anything(written, tmp_path):
    path = written([record(0, id=0.5), record(1, id=["b"]), record(2)])
    assert [one.id for one in samples(path, ids="row")] == ["0", "1", "2"]
    assert [type(one) for one in samples(path)] == [BadRecord, BadRecord, InstructionSample]
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / f"{number}.png").rename(tmp_path / f"images/{number}.png")
    assert len(samples(path, ids="row")) == 3
    captions = written([{"id": [1], "image": "0.png", "captions": ["a", "b"]}], "captions.json")
    source = open_instructions(captions, ids="row")
    write_subset(source, [1], tmp_path / "subset.json")
    assert json.loads((tmp_path / "subset.json").read_text())[0]["captions"] == ["b"]


def test_records_without_an_id_are_numbered_by_row(written):
    path = written([record(0, id=None), record(1, id=""), record(2, id=5)])
    assert [one.id for one in samples(path)] == ["0", "1", "5"]


@pytest.mark.parametrize("name", ["set.jsonl", "set.parquet"])
def test_a_row_number_that_is_anothers_id_costs_no_record(written, name):
    def ids(*given):
        return [one.id if isinstance(one, InstructionSample) else None for one in samples(written(rows(given), name))]

    def rows(given):
        return [record(number, id=one) for number, one in enumerate(given)]

    assert ids("1", None, "3") == ["1", "1 (row 1)", "3"]
    assert ids(None, "0", None) == ["0", "0 (row 1)", "2"]
    assert ids(None, "0", "0", "0 (row 1)") == ["0", "0 (row 1)", None, "0 (row 1) (row 3)"]
    assert ids("1 (row 2)", "2", None) == ["1 (row 2)", "2", "2 (row 2)"]
    assert ids("2 (row 2)", "2", None) == ["2 (row 2)", "2", "2 (row 2) (row 2)"]
    assert [one.id for one in samples(written(rows(["1", None, "3"]), name), ids="row")] == ["0", "1", "2"]


def test_ids_that_repeat_are_listed_or_numbered(written):
    path = written([record(0, id="a"), record(1, id="a"), record(2, id="b")])
    good, bad, other = samples(path)
    assert (good.id, other.id) == ("a", "b")
    assert bad == BadRecord(
        1, "a", "id 'a' stands already in a record before; rename it, or number the records instead (ids: row)"
    )
    assert [one.id for one in samples(path, ids="row")] == ["0", "1", "2"]
    with pytest.raises(InputError, match="unknown kind of ids 'rows'; did you mean 'row'?"):
        open_instructions(path, ids="rows")


def test_bad_records_are_listed_where_they_stand(written, tmp_path):
    (tmp_path / "away.png").symlink_to("/etc/hostname")
    rows = [
        record(0), record(1, image="../a.png"), record(2, image="/etc/passwd"), record(3, image="gone.png"),
        record(4, image="away.png"), record(5, conversations=[]), record(6, id=None, image=None), "text", record(8),
    ]  # fmt: skip
    found = samples(written(rows))
    assert [one.row for one in found] == list(range(9))
    assert [one.row for one in found if isinstance(one, InstructionSample)] == [0, 8]
    says = [
        "leads out of the image folder", "leads out of the image folder", "no such file in", "is a link out",
        "'conversations' is empty", "has no image", "text where an object was expected",
    ]  # fmt: skip
    bad = [one for one in found if isinstance(one, BadRecord)]
    assert [one.id for one in bad] == ["r1", "r2", "r3", "r4", "r5", None, None]
    for one, part in zip(bad, says, strict=True):
        assert part in one.reason
    assert len([one for one in samples(tmp_path / "set.json", check_files=False) if isinstance(one, BadRecord)]) == 3


def test_a_broken_line_is_a_bad_record(written):
    path = written([record(0), record(1)], "set.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], '{"id": ', lines[1]]))
    assert samples(path)[1] == BadRecord(1, None, "line 2: not valid JSON at column 9 (Expecting value)")


def test_absolute_paths_under_the_root_are_made_relative(written, tmp_path):
    path = written([record(0, image=str(tmp_path / "0.png"))])
    assert samples(path)[0].images == ("0.png",)


@pytest.mark.parametrize("root", ["../{0}", "x/..", ".", "../{0}/x/../../{0}"])
def test_a_root_with_dots_is_where_it_leads(written, tmp_path, monkeypatch, root):
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    rows = [record(0, image=str(tmp_path / "0.png")), record(1, image=str(tmp_path / "x" / ".." / "1.png"))]
    rows.append(record(2, image=str(tmp_path / ".." / "2.png")))
    found = samples(written(rows), images=Path(root.format(tmp_path.name)))
    assert [getattr(one, "images", None) for one in found] == [("0.png",), ("1.png",), None]
    assert "leads out of the image folder" in found[2].reason


def test_images_that_are_not_looked_up_may_lie_anywhere(written):
    rows = [record(0, image="/elsewhere/0.png"), record(1, image="../1.png")]
    assert [one.images for one in samples(written(rows), check_files=False)] == [("/elsewhere/0.png",), ("../1.png",)]


def test_the_images_folder_is_found_or_given(written, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").touch()
    path = written([record(0)], images=False)
    assert open_instructions(path).root == tmp_path / "images"
    assert open_instructions(path, images=tmp_path).root == tmp_path
    with pytest.raises(InputError, match="no such folder of images"):
        open_instructions(path, images=tmp_path / "gone")


def test_a_split_keeps_the_row_numbers(written):
    path = written([record(n, split=split) for n, split in enumerate(["train", "test", "training", None])])
    assert [one.row for one in samples(path, split="train")] == [0, 2, 3]
    assert [one.row for one in samples(path, split="Test")] == [1, 3]


def test_bad_records_of_other_splits_are_none_of_this_one(written):
    rows = [
        record(0, split="train"), record(1, split="test", conversations=[]), record(2, split="test", image="gone.png"),
        record(3, split="train", conversations=[]), record(4, conversations=[]), record(5, split=7),
        record(6, split="train"),
    ]  # fmt: skip
    path = written(rows, "set.jsonl")
    path.write_text(path.read_text() + "{broken}\n" + json.dumps(record(0, id="last", split="train")) + "\n")

    def found(split):
        every = samples(path, split=split)
        bad = [one.row for one in every if isinstance(one, BadRecord)]
        return [one.row for one in every if isinstance(one, InstructionSample)], bad

    assert found("train") == ([0, 6, 8], [3, 4, 5, 7])
    assert found("test") == ([], [1, 2, 4, 5, 7])
    assert found(None) == ([0, 5, 6, 8], [1, 2, 3, 4, 7])


def test_a_split_that_is_not_there(written):
    path = written([record(n, split="validation") for n in range(3)])
    source = open_instructions(path, split="trian")
    with pytest.raises(InputError, match="no split 'trian'; it has val \\(3\\)"):
        list(source.samples())
    path = written([record(0, spilt="train")])
    assert "did you mean 'split'?" in samples(path, split="train")[0].reason


@pytest.mark.parametrize("name", ["set.parquet", "sets/b.parquet"])
def test_a_misspelt_split_of_a_parquet_file_lets_no_test_record_in(written, tmp_path, name):
    if name.startswith("sets"):
        written([record(7, split="train")], "sets/a.parquet")
    path = written([record(n, splits="test" if n > 2 else "train") for n in range(5)], name)
    opened = path if path.parent == tmp_path else path.parent
    with pytest.raises(InputError, match=r"\w\.parquet: 'splits' is not a known key; did you mean 'split'\?; rename"):
        open_instructions(opened, split="train")
    assert len(samples(opened, check_files=False)) == (5 if opened == path else 6)


def test_captions_of_every_layout(written, tmp_path):
    rows = [{"image": "0.png", "captions": ["a", "b"], "id": 4, "split": "train"}, {"image": "1.png", "captions": []}]
    rows.append({"image": "2.png", "captions": ["c"], "split": "test"})
    expected = [("4#0", 0, "a"), ("4#1", 1, "b"), (None, 2, None), ("3", 3, "c")]
    for name in ("set.json", "set.jsonl", "set.parquet"):
        source = open_instructions(written(rows, name))
        assert source.format == "captions"
        found = [(one.id, one.row, getattr(one, "answer", None)) for one in source.samples()]
        assert found == expected
        assert all(one.question == "" for one in source.samples() if isinstance(one, InstructionSample))
        assert [one.row for one in replace(source, split="train").samples()] == [0, 1, 2]
    karpathy = [{"filename": "0.png", "imgid": 1, "split": "train", "sentences": [{"raw": "a"}, {"raw": "b"}]}]
    for indent in (None, 1):
        (tmp_path / "k.json").write_text(json.dumps({"dataset": "x", "images": karpathy}, indent=indent))
        assert [(one.id, one.text()) for one in samples(tmp_path / "k.json")] == [("1#0", "a"), ("1#1", "b")]
    assert samples(written(karpathy, "k.parquet"), split="train") == samples(tmp_path / "k.json")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.json", b"", "the file is empty"),
        ("a.jsonl", b"\n \n", "the file is empty"),
        ("a.json", b"[]", "holds no record"),
        ("a.json", b'[{"id": 1, "image": "a.png", "conv', "cut off at its end, byte 34"),
        ("a.jsonl", b'{"id": 1, "messages": []}\n{"id": 1, "ima', "cut off at its end"),
        ("a.json", b"a,b\n1,2\n", "cut off at its end"),
        ("a.json", b"\x1f\x8b\x08\x00", "is packed (gzip); unpack it"),
        ("a.jsonl", b"PK\x03\x04", "is packed (a zip archive)"),
        ("a.json", "[{}]".encode("utf-16"), "not UTF-8 text but UTF-16; save it as UTF-8"),
        ("a.json", '[{"id": "ü"}]'.encode("latin-1"), "not UTF-8 text (byte 9); save it as UTF-8"),
        ("a.json", b'{"a": 1}', "found 'a'"),
        ("a.json", b'[{"image": "a.png", "conversation": []}]', "rename 'conversation' to 'conversations'"),
        ("a.json", b"[1, 2]", "records of no known layout (found a number)"),
        ("a.json", b'{"data": [{}],\n"b": [1]}', "one object, without a list 'images'"),
        ("a.jsonl", b"a,b\n1,2\n", "line 1: not valid JSON at column 1"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
        ("a.parquet", b"", "cannot be read as Parquet"),
        ("a", b"PAR1 and no more", "cannot be read as Parquet"),
    ],
)
def test_files_that_are_no_instruction_set(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as raised:
        open_instructions(tmp_path / name)
    assert says in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)


def test_places_where_nothing_is(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_instructions(tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"no .parquet file in it"):
        open_instructions(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        open_instructions(tmp_path / "gone.parquet")


def test_files_in_folders_of_a_folder_are_not_left_out_without_a_word(written, tmp_path, capsys):
    written([record(0)], "set/0.parquet")
    written([record(1)], "set/.cache/1.parquet")
    folder = tmp_path / "set"
    assert len(samples(folder, check_files=False)) == 1
    assert not capsys.readouterr().err
    _warn_of_nested.cache_clear()
    written([record(1)], "set/more/1.parquet")
    assert len(samples(folder, check_files=False)) == 1
    assert "set: files in folders of it, such as more/1.parquet, are not read" in capsys.readouterr().err


def test_damage_in_the_middle_is_found_while_reading(written):
    path = written([record(n) for n in range(40)])
    text = path.read_text()
    at = text.index('"r35"')
    path.write_text(text[:at] + text[at + 1 :])
    found = open_instructions(path).samples()
    assert next(found).id == "r0"
    with pytest.raises(InputError, match="not valid JSON at line"):
        list(found)


@pytest.mark.parametrize("name", ["set.json", "set.jsonl"])
def test_a_file_that_is_cut_anywhere_is_refused(written, name):
    """But after a whole line of JSON Lines: what follows may never have been there."""
    data = written([record(n) for n in range(2)], name).read_bytes()
    cut = written([record(0)], f"cut.{name}")
    for length in range(len(data.rstrip())):
        cut.write_bytes(data[:length])
        if name == "set.jsonl" and length and b"\n" in data[length - 1 : length + 1]:
            assert [one.id for one in samples(cut)] == ["r0"]
        else:
            with pytest.raises(InputError):
                samples(cut)


@pytest.mark.parametrize("name", ["set.json", "set.jsonl"])
def test_a_file_is_never_in_memory_as_a_whole(tmp_path, monkeypatch, name):
    monkeypatch.setattr(instruction_json, "_CHUNK", 2**14)
    separator, ends = (",", "[]") if name == "set.json" else ("\n", ("", "\n"))
    rows = [json.dumps(record(number, more="x" * 4000)) for number in range(1000)]
    (tmp_path / name).write_text(ends[0] + separator.join(rows) + ends[1])
    source = open_instructions(tmp_path / name, check_files=False)
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.samples()) == 1000
        assert tracemalloc.get_traced_memory()[1] < 1e6  # of a file of 4 MB
    finally:
        tracemalloc.stop()


def test_the_synthetic_set_is_read_and_its_truth_applies(tmp_path):
    path = write_instructions(tmp_path, 40, size=16)
    found = samples(path)
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [(one.id, one.images) for one in found] == [(one["id"], (one["image"],)) for one in truth]
    by_id = {one.id: one for one in found}
    exact = [one for one in truth if one["relation"] == "exact"]
    assert exact
    for one in exact:
        first, second = by_id[one["id"]], by_id[one["duplicate_of"]]
        assert (first.images, first.text()) == (second.images, second.text())
