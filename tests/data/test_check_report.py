import json

from eotune.data.check_report import CheckReport, Finding, PartCounts


def report():
    return CheckReport(
        problems=("a.png: the image is empty (0 bytes)",),
        warnings=(Finding("shared_images", ("demo train", "demo test"), 1, 7, "1 of 7 images", ("b.png = c.png",)),),
        counts=(
            PartCounts("demo", "train", 12_000, 60_000, 4_000, 5, 5, 3, 2.5, 0),
            PartCounts("demo", None, 7, 30, 30, 1, 6, 0, None, 7),
        ),
    )


def test_text():
    assert report().render().splitlines() == [
        "data  split  images  captions  distinct  per image  classes  imbalance",
        "demo  train  12,000    60,000     4,000          5        3        2.5",
        "demo  -           7        30        30     1 to 6        -          -",
        "",
        "1 problem",
        "  - a.png: the image is empty (0 bytes)",
        "",
        "1 warning",
        "  - 1 of 7 images",
        "      b.png = c.png",
    ]


def test_nothing_found():
    assert CheckReport((), (), ()).render().split("\n") == ["", "0 problems", "", "0 warnings", ""]


def test_json():
    values = json.loads(json.dumps(report().to_dict()))
    assert values["problems"] == ["a.png: the image is empty (0 bytes)"]
    assert values["warnings"][0]["kind"] == "shared_images"
    assert values["counts"][1]["georeferenced"] == 7


def counts(split, **classes):
    images = sum(classes.values())
    return PartCounts("demo", split, images, 0, 0, 0, 0, len(classes), 2.0, 0, classes)


def test_labels_without_captions():
    parts = (counts("train", Beach=1200, Forest=600), counts("test", Beach=1, Forest=2, Pond=1))
    assert CheckReport((), (), parts).render().splitlines()[:7] == [
        "data  split  images  classes  imbalance",
        "demo  train   1,800        2        2.0",
        "demo  test        4        3        2.0",
        "",
        "class   demo train  demo test",
        "Beach        1,200          1",
        "Forest         600          2",
    ]


def test_of_many_classes_both_ends_are_shown():
    numbers = {f"c{number:03}": 1000 - number for number in range(50)}
    lines = CheckReport((), (), (counts("train", **numbers),)).render().splitlines()[3:]
    assert [line.split()[0] for line in lines[1:42]] == [
        *(f"c{number:03}" for number in range(20)), "...", *(f"c{number:03}" for number in range(30, 50)),
    ]  # fmt: skip
    assert lines[21].startswith("... 10 more, see --json")
