import json
from collections import Counter

import pytest

from eotune.core.errors import InputError
from eotune.core.seeds import derive_seed
from eotune.data.images import read_image
from eotune.data.scenes import CLASSES, Redundancy, questions, render, write_instructions

SIZE = 16


def read(path):
    rows = json.loads(path.read_text())
    truth = [json.loads(line) for line in (path.parent / "truth.jsonl").read_text().splitlines()]
    return rows, truth


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_instructions(tmp_path_factory.mktemp("instructions"), 300, size=SIZE)


def turns(row):
    human, gpt = row["conversations"]
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    assert human["value"].startswith("<image>\n")
    return human["value"].removeprefix("<image>\n"), gpt["value"]


def possible(row):
    """All questions of a record's scene, which is rendered anew from the name of its image."""
    label, _, number = row["image"].removeprefix("images/").removesuffix(".png").rpartition("_")
    label = next(name for name in CLASSES if name.lower() == label)
    return questions(render(label, derive_seed(0, "instructions", int(number)) % 2**31, size=SIZE))


def test_shares_are_exact_and_ids_agree(written):
    rows, truth = read(written)
    assert [row["id"] for row in rows] == [line["id"] for line in truth]
    assert len({row["id"] for row in rows}) == len(rows) == 300
    assert [row["image"] for row in rows] == [line["image"] for line in truth]
    sorts = Counter(
        line["relation"] or ("noise" if line["noisy"] else "rare" if line["rare"] else "") for line in truth
    )
    assert sorts == {"exact": 60, "paraphrase": 45, "noise": 30, "rare": 15, "": 150}


def test_answers_are_true_but_the_noisy_ones(written):
    for row, line in zip(*read(written), strict=True):
        asked, answered = turns(row)
        (question,) = [q for q in possible(row) if q.kind == line["kind"] and asked in q.wordings]
        assert line["answer"] == question.answers[0]
        assert (answered in question.answers) is not line["noisy"]
        assert (answered in question.wrong) is line["noisy"]


def test_every_repetition_is_marked_and_nothing_else_repeats(written):
    rows, truth = read(written)
    by_id = {row["id"]: row for row in rows}
    plain = {line["id"] for line in truth if not (line["relation"] or line["noisy"] or line["rare"])}
    subjects = Counter()
    for row, line in zip(rows, truth, strict=True):
        if line["relation"] is None:
            assert line["duplicate_of"] is None
            (question,) = [q for q in possible(row) if q.kind == line["kind"] and turns(row)[0] in q.wordings]
            subjects[row["image"], question.kind, question.subject] += 1
            continue
        assert line["duplicate_of"] in plain
        source = by_id[line["duplicate_of"]]
        assert source["image"] == row["image"]
        assert (source["conversations"] == row["conversations"]) is (line["relation"] == "exact")
        if line["relation"] == "paraphrase":
            assert turns(source)[0] != turns(row)[0]
    assert set(subjects.values()) == {1}
    # By text alone: as many records are repeated word for word as are marked so.
    texts = [json.dumps([row["image"], row["conversations"]]) for row in rows]
    assert len(texts) - len(set(texts)) == sum(line["relation"] == "exact" for line in truth)


def test_rare_kinds_are_rare_and_nowhere_else(written):
    _, truth = read(written)
    assert {line["kind"] for line in truth if line["rare"]} == {"comparison", "position"}
    assert not {line["kind"] for line in truth if not line["rare"]} & {"comparison", "position"}


def test_images_are_the_scenes_asked_about_and_no_others(written):
    rows, _ = read(written)
    files = {str(path.relative_to(written.parent)) for path in (written.parent / "images").iterdir()}
    assert files == {row["image"] for row in rows}
    assert read_image(written.parent / rows[0]["image"]).shape == (SIZE, SIZE, 3)


def test_the_seed_decides_everything(tmp_path):
    first = write_instructions(tmp_path / "a", 40, size=SIZE)
    again = write_instructions(tmp_path / "b", 40, size=SIZE)
    other = write_instructions(tmp_path / "c", 40, size=SIZE, seed=1)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    truths = [(path.parent / "truth.jsonl").read_bytes() for path in (first, again)]
    assert truths[0] == truths[1]


def test_shares_and_kinds_can_be_chosen(tmp_path):
    chosen = Redundancy(exact=0, paraphrase=0, noise=0.5, rare=0.25, rare_kinds=("colour",))
    path = write_instructions(tmp_path, 16, redundancy=chosen, classes=("Airport", "Harbour"), size=SIZE)
    _, truth = read(path)
    assert Counter((line["noisy"], line["rare"]) for line in truth) == {
        (True, False): 8,
        (False, True): 4,
        (False, False): 4,
    }
    assert {line["kind"] for line in truth if line["rare"]} == {"colour"}


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"exact": -0.1}, "shares"),
        ({"exact": 0.9, "noise": 0.2}, "shares"),
        ({"exact": 0.5, "paraphrase": 0.3}, "plain records"),
        ({"rare_kinds": ("colours",)}, "did you mean 'colour'"),
        ({"rare_kinds": ()}, "rare_kinds"),
    ],
)
def test_impossible_redundancy_is_refused(shares, message):
    with pytest.raises(InputError, match=message):
        Redundancy(**shares)


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="no record"):
        write_instructions(tmp_path, 0)
    with pytest.raises(InputError, match="unknown scene class"):
        write_instructions(tmp_path, 4, classes=("Lake",))
    with pytest.raises(InputError, match="too few records"):
        write_instructions(tmp_path, 3, redundancy=Redundancy(exact=0, paraphrase=0.5, noise=0, rare=0))
    with pytest.raises(InputError, match="too few questions"):  # nothing stands in a forest that could be compared
        write_instructions(tmp_path, 20, classes=("Forest",), size=8)
