import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eotune.core.errors import InputError
from eotune.data import instruction_json
from eotune.data.caption_formats import RowError
from eotune.data.instruction_json import document_pieces, element_pieces, kept_pieces, line_pieces

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
SPACE = st.text(" \t\r\n", max_size=4)


@pytest.fixture(params=[1, 7, 2**20])
def chunk(request, monkeypatch):
    """Read files in pieces of a few bytes, so that every boundary falls everywhere."""
    monkeypatch.setattr(instruction_json, "_CHUNK", request.param)


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def whole(pieces):
    return b"".join(piece.before + piece.text for piece in pieces)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_documents_come_apart_and_together_again(tmp_path_factory, data):
    """The oracle is json.loads of the whole text."""
    path = tmp_path_factory.mktemp("json") / "a.json"
    values = data.draw(st.lists(VALUES, max_size=5))
    compact = data.draw(st.booleans())
    parts = [json.dumps(value, ensure_ascii=compact, indent=None if compact else 1) for value in values]
    around = [data.draw(SPACE) for _ in range(2 * len(parts) + 3)]
    body = ",".join(a + part + b for a, part, b in zip(around[::2], parts, around[1::2], strict=False))
    text = data.draw(st.sampled_from(["", "\ufeff"])) + around[-1] + "[" + (body or around[-2]) + "]" + around[-3]
    written(path, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instruction_json, "_CHUNK", data.draw(st.sampled_from([1, 5, 1000])))
        pieces = list(document_pieces(path, "images"))
    assert whole(pieces) == path.read_bytes()
    assert [json.loads(piece.text) for piece in pieces[:-1]] == values == [piece.value for piece in pieces[:-1]]
    chosen = data.draw(st.sets(st.integers(0, max(0, len(values) - 1))))
    numbers = iter(range(len(values)))
    keep = lambda piece: piece.text if next(numbers) in chosen else None  # noqa: E731
    kept = b"".join(kept_pieces(iter(pieces), keep))
    assert json.loads(kept.decode("utf-8-sig")) == [value for i, value in enumerate(values) if i in chosen]


def test_a_list_inside_an_object(tmp_path, chunk):
    text = '{"dataset": "rsicd", "x": {"images": [0]},\n "images": [ {"a": 12}, 3 ,\n "é]" ], "more": [1.50, {}]}\n'
    path = written(tmp_path / "a.json", text)
    pieces = list(document_pieces(path, "images"))
    assert [piece.value for piece in pieces] == [{"a": 12}, 3, "é]", None]
    assert whole(pieces) == path.read_bytes()
    assert b"".join(kept_pieces(iter(pieces), lambda piece: piece.text if piece.value == 3 else None)) == (
        b'{"dataset": "rsicd", "x": {"images": [0]},\n "images": [ 3 ], "more": [1.50, {}]}\n'
    )
    assert b'"images": [  ]' in b"".join(kept_pieces(iter(pieces), lambda piece: None))


def test_elements_of_one_record():
    text = b'{"captions": ["a",  "b", "c"], "captioned": true}\r\n'
    keep = lambda piece: None if piece.value == "a" else piece.text  # noqa: E731
    assert b"".join(kept_pieces(element_pieces(text, "captions"), keep)) == (
        b'{"captions": ["b", "c"], "captioned": true}\r\n'
    )


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ('[{"a": 1},\n {"a": 2', "line 2, column 9", "Expecting ',' delimiter; the file ends here"),
        ('[{"a": 1}', "line 1, column 10", "expecting ',' or ']'; the file ends here"),
        ('[{"a": 1}\n{"a": 2}]', "line 2, column 1", "expecting ',' or ']'"),
        ('[{"a": "b}]', "line 1, column 8", "Unterminated string"),
        ('[{"a": 1},]', "line 1, column 11", "Expecting value"),
        ('[1] "x"', "line 1, column 5", "more follows the end"),
        ('{"images": [1]', "line 1, column 15", "expecting ',' or '}'"),
        ('{"images" [1]}', "line 1, column 11", "expecting a key and ':'"),
        ("{1: 2}", "line 1, column 3", "expecting a key and ':'"),
        ('"text"', "line 1, column 1", "neither a list nor an object"),
        ("[" * 100_000, "line 1, column 2", "nested too deeply"),
    ],
)
def test_broken_documents_are_refused_with_their_place(tmp_path, chunk, text, where, says):
    path = written(tmp_path / "a.json", text)
    with pytest.raises(InputError) as raised:
        list(document_pieces(path, "images"))
    assert f"a.json: not valid JSON at {where} ({says}" in str(raised.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'["\xc3\xa9", "\xc3("]', "not UTF-8 text (byte 8)"),
        (b'["\xc3\xa9', "line 1, column 2"),
        (b'{"data": [1], "b": 2}', "one object, without a list 'images' (found 'data', 'b')"),
        (b"{}", "without a list 'images' (found no key)"),
    ],
)
def test_other_files_are_refused(tmp_path, chunk, data, says):
    with pytest.raises(InputError) as raised:
        list(document_pieces(written(tmp_path / "a.json", data), "images"))
    assert says in str(raised.value)


def test_a_missing_bracket_does_not_read_the_rest_of_the_file_into_memory(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(instruction_json, "LIMIT", 100)
    path = written(tmp_path / "a.json", '[{"a": "' + "x" * 1_100_000)
    with pytest.raises(InputError, match="more than 64 MiB without the end of a record"):
        list(document_pieces(path, "images"))
    with pytest.raises(InputError, match="line 1 is longer than 64 MiB"):
        list(line_pieces(path))


def test_lines(tmp_path):
    data = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": "\xe2\x80\xa8"}\n{"a": \n{"a": "\xff"}\n{} {}\n{"a": 5}'
    pieces = list(line_pieces(written(tmp_path / "a.jsonl", data)))
    assert whole(pieces) == data
    values = [piece.value for piece in pieces[:-1]]
    assert [value for value in values if not isinstance(value, RowError)] == [{"a": 1}, {"a": "\u2028"}, {"a": 5}]
    assert [str(value) for value in values if isinstance(value, RowError)] == [
        "line 5: not valid JSON at column 8 (Expecting value)",
        "line 6: not UTF-8 text (byte 7 of the line)",
        "line 7: more than one value (column 4); write one record a line",
    ]
    kept = b"".join(kept_pieces(iter(pieces), lambda piece: piece.text if piece.value == {"a": 5} else None))
    assert kept == b'\xef\xbb\xbf{"a": 5}'


def test_numbers_too_long_for_python_are_no_reason_to_stop(tmp_path, chunk):
    digits = "7" * 10_000
    path = written(tmp_path / "a.json", f'[{{"id": {digits}}}]')
    assert next(document_pieces(path, "images")).value == {"id": digits}


@pytest.mark.parametrize("read", [line_pieces, lambda path: document_pieces(path, "images")])
def test_files_that_are_none(tmp_path, read):
    for path, says in ((tmp_path / "b", "no such file"), (tmp_path, "is a directory"), (tmp_path / "\0", "cannot be")):
        with pytest.raises(InputError, match=says):
            list(read(path))
