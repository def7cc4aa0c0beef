import hashlib
import json
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.core.errors import InputError
from eotune.data.instruction_files import dataset_info, write_subset, write_xcomposer
from eotune.data.instructions import InstructionSample, open_instructions
from eotune.data.scenes import write_instructions

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.strip)
ODD = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | TEXT, lambda inner: st.lists(inner, max_size=2)
)


@st.composite
def conversations(draw):
    turns = [{"from": "human", "value": draw(TEXT)}, {"from": "gpt", "value": "Yes " + draw(TEXT)}]
    row = {"image": "a.png", "conversations": turns, "unknown": draw(ODD)}
    return row | ({"id": draw(TEXT | st.integers())} if draw(st.booleans()) else {})


@st.composite
def messages(draw):
    turns = [{"role": "user", "content": draw(TEXT)}, {"role": "assistant", "content": "Yes " + draw(TEXT)}]
    return {"messages": turns, "images": ["a.png"] * draw(st.integers(1, 3)), "unknown": draw(ODD)}


@st.composite
def captions(draw):
    captions = draw(st.lists(TEXT, min_size=1, max_size=4))
    key, value = draw(st.sampled_from([("captions", captions), ("caption", captions), ("caption", captions[0])]))
    return {"unknown": draw(ODD), "image": "a.png", key: value, "caption_": [1, 2]}


def bad():
    return st.sampled_from([{"image": "a.png"}, {"conversations": 3}, [1], "text", None])


def texts(path):
    found = open_instructions(path, ids="row", check_files=False).samples()
    return [(one.images, one.turns) for one in found if isinstance(one, InstructionSample)]


@given(data=st.data(), layout=st.sampled_from([conversations, messages, captions]), lines=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_what_was_chosen(tmp_path_factory, data, layout, lines):
    """Records without a choice of captions are there as they stood; all rows give the file itself."""
    folder = tmp_path_factory.mktemp("subset")
    values = [data.draw(layout()), *data.draw(st.lists(layout() | bad(), max_size=6))]
    parts = [json.dumps(v, ensure_ascii=data.draw(st.booleans()), indent=None if lines else 2) for v in values]
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = end.join(parts) + end if lines else "[" + end + f",{end}  ".join(parts) + end + "]"
    path = folder / ("all.jsonl" if lines else "all.json")
    path.write_bytes(text.encode())
    before = hashlib.sha256(path.read_bytes()).digest()
    source = open_instructions(path, ids="row", check_files=False)
    good = [one for one in source.samples() if isinstance(one, InstructionSample)]
    chosen = sorted(data.draw(st.sets(st.sampled_from([one.row for one in good]), min_size=1)))
    out = folder / ("some" + path.suffix)
    write_subset(source, chosen, out)
    assert texts(out) == [(one.images, one.turns) for one in good if one.row in set(chosen)]
    assert hashlib.sha256(path.read_bytes()).digest() == before
    written = out.read_bytes().decode()
    if layout is not captions:
        assert written.count("unknown") == len(chosen)
        assert all(parts[row] in written for row in chosen)
    write_subset(source, range(sum(1 for _ in source.samples())), out)
    assert out.read_bytes() == path.read_bytes()


PARQUET = [
    st.fixed_dictionaries({"image": st.just("a.png"), "captions": st.lists(TEXT, min_size=1, max_size=4)}),
    conversations().map(lambda row: {key: row[key] for key in ("image", "conversations")}),
    messages().map(lambda row: {key: row[key] for key in ("images", "messages")}),
]


@given(data=st.data(), layout=st.sampled_from(PARQUET), files=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_what_is_written_as_parquet_is_what_was_chosen(tmp_path_factory, data, layout, files):
    folder = tmp_path_factory.mktemp("subset")
    (folder / "all").mkdir()
    for number in range(files):
        rows = [row | {"unknown": number} for row in data.draw(st.lists(layout, min_size=1, max_size=4))]
        pq.write_table(pa.Table.from_pylist(rows), folder / "all" / f"{number}.parquet", row_group_size=2)
    first = folder / "all" / "0.parquet"
    source = open_instructions(first if files == 1 else first.parent, check_files=False)
    good = list(source.samples())
    chosen = sorted(data.draw(st.sets(st.sampled_from([one.row for one in good]), min_size=1)))
    out = folder / ("some.parquet" if files == 1 else "some")
    write_subset(source, chosen, out)
    assert texts(out) == [(one.images, one.turns) for one in good if one.row in set(chosen)]
    schema = pq.read_schema(out if files == 1 else out / "0.parquet")
    assert schema.equals(pq.read_schema(first), check_metadata=True)


def test_captions_are_taken_out_and_all_else_stays(tmp_path):
    karpathy = (
        '{"dataset": "rsicd", "images": [\n'
        '  {"filename": "a.png", "ids": [0, 1], "sentences": [{"raw": "a",  "x": 0}, {"raw": "b"}, {"raw": "c"}]},\n'
        '  {"filename": "b.png", "sentences": [{"raw": "d"}]},\n'
        '  {"filename": "c.png", "sentences": [{"raw": "e"}, {"raw": "f"}]}\n'
        '], "more": {"images": []}}\n'
    )  # fmt: skip
    (tmp_path / "k.json").write_text(karpathy)
    write_subset(open_instructions(tmp_path / "k.json"), [0, 2, 5], tmp_path / "some.json")
    assert (tmp_path / "some.json").read_text() == (
        '{"dataset": "rsicd", "images": [\n'
        '  {"filename": "a.png", "ids": [0, 1], "sentences": [{"raw": "a",  "x": 0}, {"raw": "c"}]},\n'
        '  {"filename": "c.png", "sentences": [{"raw": "f"}]}\n'
        '], "more": {"images": []}}\n'
    )
    write_subset(open_instructions(tmp_path / "k.json"), [], tmp_path / "some.json")
    assert json.loads((tmp_path / "some.json").read_text())["images"] == []


def test_karpathy_captions_are_taken_out_of_parquet(tmp_path):
    rows = [
        {"filename": f"{n}.png", "filepath": "val", "sentences": [{"raw": text, "x": 1} for text in f"{n}ab"]}
        for n in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "k.parquet")
    source = open_instructions(tmp_path / "k.parquet", check_files=False)
    assert [(one.images, one.answer) for one in source.samples()][3:5] == [(("val/1.png",), "1"), (("val/1.png",), "a")]
    write_subset(source, [0, 2, 8], tmp_path / "some.parquet")
    found = pq.read_table(tmp_path / "some.parquet")
    assert found.schema == pq.read_schema(tmp_path / "k.parquet")
    assert [[one["raw"] for one in row["sentences"]] for row in found.to_pylist()] == [["0", "b"], ["b"]]


def test_captions_of_a_bad_split_do_not_shift_the_rows(tmp_path):
    rows = [{"image": "a.png", "captions": ["a", "b"], "split": split} for split in ("", "train", "test", "train")]
    rows[0]["spilt"] = rows[0].pop("split")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = open_instructions(tmp_path / "a.jsonl", split="train", check_files=False)
    found = [one.row for one in source.samples()]
    assert found == [0, 2, 3, 6, 7]
    write_subset(source, [3, 6], tmp_path / "b.jsonl")
    some = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [(row["captions"], row["split"]) for row in some] == [(["b"], "train"), (["a"], "train")]


def test_of_a_key_that_stands_twice_the_last_counts(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"image": "a.png", "captions": ["a", "b", "c"], "captions": ["d", "e"]}\n')
    write_subset(open_instructions(tmp_path / "a.jsonl"), [1], tmp_path / "b.jsonl")
    text = (tmp_path / "b.jsonl").read_text()
    assert text == '{"image": "a.png", "captions": ["a", "b", "c"], "captions": ["e"]}\n'


def test_a_record_with_a_key_twice_stays_as_it_is_written(tmp_path):
    record = (
        '{"image": "a.png", "big": BIG, "captions": ["x", ["captions"]], "w": 1e400, "captions": "z", '
        '"n": {"captions": ["y"]}, "captions": ["a", "\\u00e9", "c"], "e": 1.0000000000000000000001}\n'
    ).replace("BIG", "7" * 5000)
    (tmp_path / "a.jsonl").write_text(record)
    write_subset(open_instructions(tmp_path / "a.jsonl", check_files=False), [0, 2], tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_text() == record.replace('["a", "\\u00e9", "c"]', '["a", "c"]')


@pytest.fixture
def scenes(tmp_path):
    return open_instructions(write_instructions(tmp_path / "scenes", 20, size=16))


def test_rows_may_be_an_array(scenes, tmp_path):
    write_subset(scenes, np.flatnonzero(np.arange(20) % 3 == 0), tmp_path / "some.json")
    assert len(json.loads((tmp_path / "some.json").read_text())) == 7


@pytest.mark.parametrize("write", [write_subset, write_xcomposer])
@pytest.mark.parametrize(
    ("rows", "says"),
    [([1, 1], "do not ascend"), ([2, 1], "do not ascend"), ([-1], "do not ascend"), ([0, 20], "no row 20")],
)
def test_rows_that_cannot_be_written_leave_nothing_behind(scenes, tmp_path, write, rows, says):
    with pytest.raises(InputError, match=says):
        write(scenes, rows, tmp_path / "some.json")
    assert [one.name for one in tmp_path.iterdir()] == ["scenes"]


@pytest.mark.parametrize("write", [write_subset, write_xcomposer])
def test_the_input_is_never_written_over(scenes, tmp_path, write):
    before = scenes.path.read_bytes()
    (tmp_path / "link.json").symlink_to(scenes.path)
    for out in (scenes.path, tmp_path / "link.json"):
        with pytest.raises(InputError, match="is the input, which is never changed"):
            write(scenes, [0], out)
    assert scenes.path.read_bytes() == before


def written(tmp_path, *rows):
    path = tmp_path / "set.json"
    path.write_text(json.dumps(rows))
    return open_instructions(path, check_files=False)


def turns(*texts, keys=("from", "value"), roles=("human", "gpt")):
    return [dict(zip(keys, (role, text), strict=True)) for role, text in zip(chain(roles, roles), texts, strict=False)]


def test_llama_factory_reads_llava(scenes):
    tags = {"user_tag": "human", "assistant_tag": "gpt", "system_tag": "system"}
    assert dataset_info(scenes, "third.json", "third") == {
        "third": {
            "file_name": "third.json",
            "formatting": "sharegpt",
            "columns": {"images": "image", "messages": "conversations"},
            "tags": {"role_tag": "from", "content_tag": "value", **tags},
        }
    }


def test_llama_factory_reads_messages_after_bad_records(tmp_path):
    said = turns("<image>a", "b", keys=("role", "content"), roles=("user", "assistant"))
    source = written(tmp_path, {"messages": []}, {"messages": said, "images": ["a.png"], "system": "Be brief."})
    entry = dataset_info(source, Path("a/b.json"), "x")["x"]
    assert entry["columns"] == {"images": "images", "system": "system", "messages": "messages"}
    assert entry["file_name"] == "a/b.json"
    assert [entry["tags"][key] for key in ("user_tag", "assistant_tag", "system_tag")] == [
        "user",
        "assistant",
        "system",
    ]


def test_llama_factory_reads_several_images(tmp_path):
    said = turns("<image>One or <image>two?", "One.", "And <image>?", "No.")
    source = written(tmp_path, {"image": ["a.png", "b.png", "c.png"], "conversations": said})
    assert dataset_info(source, "a.json", "x")["x"]["formatting"] == "sharegpt"


def test_llama_factory_reads_questions_that_say_where_the_image_stands(tmp_path):
    source = written(tmp_path, {"image": "a.png", "question": "<image>Where?", "answer": "Here."})
    entry = dataset_info(source, "a.json", "x")["x"]
    assert entry["formatting"] == "alpaca"
    assert entry["columns"] == {"images": "image", "prompt": "question", "response": "answer"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"image": "a.png", "question": "Where?", "answer": "Here."}, "<image> once for each image; .* has 0 for 1"),
        ({"image": ["a.png", "b.png"], "question": "<image>Where?", "answer": "Here."}, "has 1 for 2"),
        ({"image": "a.png", "conversations": turns("Where?", "Here.")}, "has 0 for 1"),
        ({"image": "a.png", "conversations": turns("<ImageHere>Where?", "Here.")}, "has 0 for 1"),
        ({"image": "a.png", "conversations": turns("<image>Where?", "Here.", "<image>Who?", "I.")}, "has 2 for 1"),
        (
            {"images": ["a.png"], "system": "<image>", "messages": turns("a", "b", keys=("role", "content"))},
            "has 0 for 1",
        ),
        ({"image": "a.png", "caption": "a"}, "captions have no instruction"),
        (
            {"images": ["a.png"], "messages": [{"role": "assistant", "content": [{"type": "text", "text": "b"}]}]},
            "turns are lists of parts",
        ),
        ({"image": "a.png", "conversations": []}, "no usable record"),
    ],
)
def test_what_llama_factory_cannot_read_is_refused(tmp_path, row, says):
    with pytest.raises(InputError, match=says):
        dataset_info(written(tmp_path, row), "a.json", "x")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"image": "a.png", "conversations": turns("<image>\nWhere?", "Here.")}, ["<ImageHere>\nWhere?", "Here."]),
        (
            {"image": ["a.png", "b.png"], "conversations": turns("<image> or <image>?", "1", "Sure?", "No.")},
            ["<ImageHere> or <ImageHere>?", "1", "Sure?", "No."],
        ),
        ({"image": ["a.png", "b.png"], "conversations": turns("Which?", "1")}, ["<ImageHere> <ImageHere> Which?", "1"]),
        ({"image": ["a.png", "b.png"], "conversations": turns("<image>A?", "1")}, ["<ImageHere> <ImageHere> A?", "1"]),
        ({"image": "a.png", "system": "S.", "conversations": turns("A?", "1")}, ["<ImageHere> S.\nA?", "1"]),
        ({"image": "a.png", "caption": "A pond."}, ["<ImageHere>", "A pond."]),
    ],
)  # fmt: skip
def test_xcomposer(tmp_path, row, expected):
    source = written(tmp_path, row)
    write_xcomposer(source, [0], tmp_path / "x.json")
    (found,) = json.loads((tmp_path / "x.json").read_text())
    assert [turn["value"] for turn in found["conversations"]] == expected
    assert [turn["from"] for turn in found["conversations"]] == ["user", "assistant"] * (len(expected) // 2)
    names = row["image"] if isinstance(row["image"], list) else [row["image"]]
    assert found["image"] == [str(tmp_path / name) for name in names]
    assert found["id"] == "0"


def test_xcomposer_of_chosen_rows(scenes, tmp_path):
    write_xcomposer(scenes, [1, 2, 19], tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text())
    chosen = [one for one in scenes.samples() if one.row in (1, 2, 19)]
    assert [one["id"] for one in found] == [one.id for one in chosen]
    assert [one["conversations"][1]["value"] for one in found] == [one.answer for one in chosen]
    assert all(Path(one["image"][0]).is_file() for one in found)
    again = open_instructions(tmp_path / "x.json", images=scenes.root)
    assert [(one.images, one.question) for one in again.samples()] == [(one.images, one.question) for one in chosen]
    write_xcomposer(scenes, [], tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == []


def test_xcomposer_refuses_a_bad_record(tmp_path):
    source = written(tmp_path, {"image": "a.png", "conversations": turns("a", "b")}, {"conversations": []})
    with pytest.raises(InputError, match="row 1 cannot be used"):
        write_xcomposer(source, [0, 1], tmp_path / "x.json")
