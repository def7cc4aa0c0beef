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
