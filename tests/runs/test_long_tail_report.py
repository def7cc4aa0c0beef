"""What is drawn of a long-tail run, from real runs on synthetic scenes and from their files changed."""

import csv
import json
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from eotune.core.files import read_json
from eotune.data.scenes import write_dataset
from eotune.metrics.classification import classification_metrics
from eotune.runs.execute import execute
from eotune.runs.long_tail_card import write_card
from eotune.runs.long_tail_files import LongTailFiles, keep_targets
from eotune.runs.long_tail_geometry import confused_pair
from eotune.runs.long_tail_report import cautions, write_report
from eotune.runs.recipe import parse_recipe

CLASSES = ("Forest", "Beach", "Harbour")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of four steps; not to be changed."""
    folder = tmp_path_factory.mktemp("scenes")
    scenes = write_dataset(folder, {"train": 8, "validation": 2, "test": 4}, classes=CLASSES, size=32)
    values = {
        "name": "tail",
        "task": {
            "name": "long_tail",
            **{split: {"path": str(scenes), "split": split} for split in ("train", "validation", "test")},
            "imbalance_ratio": 4,
            "class_order": ["Harbour", "Beach", "Forest"],
        },
        "encoder": {"name": "tiny", "image_size": 32},
        "method": {"name": "lora"},
        "training": {"epochs": 2, "batch_size": 4, "augmentation": {"randaugment": None}},
    }
    execute(parse_recipe(values), folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def change(path, edit):
    values = read_json(path)
    edit(values)
    path.write_text(json.dumps(values))


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_run_leaves_report_card_and_plots(finished):
    page = (finished / "report.html").read_text()
    assert 'src="http' not in page
    assert 'href="http' not in page
    headings = ["Head, middle and tail", "Classes", "Mistakes", "Learning", "Feature space", "Data", "Use it"]
    places = [page.index(f">{heading}</h2>") for heading in headings]
    assert places == sorted(places)
    assert ">Targets</h2>" not in page
    plots = {path.name for path in (finished / "plots").iterdir()}
    names = ("learning_curve", "group_f1", "f1_by_size", "confusion", "embedding_map")
    assert plots == {f"{name}.{kind}" for name in names for kind in ("png", "csv")}
    assert not (finished / "targets.json").exists()


def test_the_charts_are_well_formed(finished):
    page = (finished / "report.html").read_text()
    drawings = [f"<svg{part.partition('</svg>')[0]}</svg>" for part in page.split("<svg")[1:]]
    labels = [ElementTree.fromstring(drawing).get("aria-label") for drawing in drawings]
    assert "confusion matrix" in labels
    assert "macro F1 by group in per cent, test, own head" in labels
    assert "map of the features of two classes, adapted" in labels


def test_files_say_what_was_measured(finished):
    files = LongTailFiles.read(finished)
    assert [(one.name, one.group, one.train_images) for one in files.classes] == [
        ("Harbour", "head", 8), ("Beach", "middle", 4), ("Forest", "tail", 2),
    ]  # fmt: skip
    assert files.groups() == [("head", 1), ("middle", 1), ("tail", 1)]
    assert list(files.classifiers) == ["probe", "balanced", "own"]
    with np.load(finished / "predictions.npz") as arrays:
        names = arrays["classes"].tolist()
        true, predicted = ([names[number] for number in arrays[key]] for key in ("labels", "adapted_probe_predicted"))
    for i, first in enumerate(files.classes):
        assert files.confusion["adapted"][i].sum() == first.test_images == 4
        for j, second in enumerate(files.classes):
            together = sum(a == first.name and b == second.name for a, b in zip(true, predicted, strict=True))
            assert files.confusion["adapted"][i, j] == together
    f1 = [one.f1["adapted"][0] for one in files.classes]
    assert np.mean(f1) == pytest.approx(files.run.primary["value"])
    counts = [int(files.confusion["adapted"][pair]) for pair in files.confusions()]
    assert counts == sorted(counts, reverse=True)
    assert all(true != predicted for true, predicted in files.confusions())


def test_tables_behind_the_plots_hold_the_figures(finished):
    files = LongTailFiles.read(finished)
    bars = {(row["classifier"], row["model"], row["classes"]): row for row in rows_of(finished / "plots/group_f1.csv")}
    assert len(bars) == 5 * 4  # two probes of two models, and a head
    row = files.run.row("balanced_macro_f1_tail", model="frozen")
    assert float(bars["balanced", "frozen", "tail"]["value"]) == row["value"]
    confusion = rows_of(finished / "plots/confusion.csv")
    assert [row["true"] for row in confusion] == ["Harbour", "Beach", "Forest"]
    assert [int(row["Beach"]) for row in confusion] == files.confusion["adapted"][:, 1].tolist()
    sizes = rows_of(finished / "plots/f1_by_size.csv")
    assert [int(row["train_images"]) for row in sizes] == [8, 4, 2]
    points = rows_of(finished / "plots/embedding_map.csv")
    assert sum(row["model"] == "adapted" for row in points) == 8 + 4 + 2 + 4  # training and test, head and tail


def test_the_card_says_how_to_load_and_names_the_classes(finished):
    text = (finished / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert (head["base_model"], head["library_name"]) == ("tiny", "peft")
    files = LongTailFiles.read(finished)
    assert f"{files.run.primary['value']:.2f}" in text
    assert 'PeftModel.from_pretrained(model, "run/adapter")' in text
    assert "| Forest | tail | 2 |" in text


def test_what_the_card_says_of_loading_runs(finished, monkeypatch):
    monkeypatch.chdir(finished.parent)
    shutil.copy(next((finished.parent / "images" / "Beach").iterdir()), "scene.png")
    code = (finished / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names = {}
    exec(code.replace("encoder.embed_images", "found = encoder.embed_images"), names)
    assert names["found"].shape == (1, names["encoder"].dim)


def test_bands_are_read_as_the_run_read_them(run):
    change(run / "data.json", lambda data: data.update(bands={"names": ["VV", "VH"]}))
    write_card(run)
    text = (run / "README.md").read_text()
    assert 'read_saved_bands(Path("run/adapter"))(Path("scene.tif"))' in text
    assert "read_image(" not in text


def test_geometry_is_of_both_models_and_finite(finished):
    geometry = read_json(finished / "geometry.json")
    for model in ("frozen", "adapted"):
        assert set(geometry[model]["mismatch"]) == {"head", "middle", "tail"}
        assert geometry[model]["train"]["inter"].keys() == {"head and middle", "head and tail", "middle and tail"}
        assert all(0 <= value <= 2 for value in geometry[model]["test"]["intra"].values())
    assert geometry["frozen"] != geometry["adapted"]
    assert (geometry["pair"]["tail"], geometry["pair"]["head"]) == ("Forest", "Harbour")


def test_what_makes_figures_doubtful_is_said(run):
    def doubtful(rows):
        for row in rows:
            if (row["model"], row["metric"]) == ("gain", "probe_macro_f1_tail"):
                row.update(value=1.0, low=-1.0, high=3.0)
            if (row["split"], row["model"], row["metric"]) == ("test", "gain", "probe_macro_f1"):
                row.update(value=1.0, low=0.5, high=3.0)
            if (row["split"], row["model"], row["metric"]) == ("test", "adapted", "own_macro_f1"):
                row.update(value=1.0)

    change(run / "metrics.json", doubtful)
    change(run / "data.json", lambda data: data["leaks"]["train and test"].update(shared_images=3, images=12))
    rows = (run / "classes.csv").read_text().replace(",middle,4,", ",middle,0,")
    (run / "classes.csv").write_text(rows)
    found = list(cautions(LongTailFiles.read(run)))
    assert [one.split(".")[0][:40] for one in found] == [
        "3 of 12 test images also stand in traini",
        "No middle class has a test image: nothin",
        "The model's own head is worse than a lin",
        "The interval of the tail's gain holds 0:",
    ]
    write_report(run)
    page = (run / "report.html").read_text()
    assert page.count('class="warn"') >= 4


def test_a_class_without_test_images_is_named(run):
    files = LongTailFiles.read(run)
    more = replace(files.classes[0], name="Quarry", group="tail", test_images=0)
    said = list(cautions(replace(files, classes=[*files.classes, more])))
    assert said[0] == "The tail is measured without Quarry: no test image is of that class."


def test_no_cluster_at_all_is_said(run):
    (run / "targets.json").write_text(json.dumps({"composition": [], "noise": 19}))
    write_report(run)
    assert "No cluster was found, all 19 images are noise" in (run / "report.html").read_text()


def test_a_loss_is_said_to_be_one(run):
    def lost(rows):
        for row in rows:
            if (row["split"], row["model"]) == ("test", "gain"):
                row.update(value=-2.0, low=-3.0, high=-1.0)

    change(run / "metrics.json", lost)
    said = list(cautions(LongTailFiles.read(run)))
    assert "The adapted model is worse than the pretrained one on the test split." in said
    assert not any("holds 0" in one for one in said)


def test_targets_are_kept_and_shown(run):
    folder = run / "checkpoints" / "debias"
    folder.mkdir(parents=True)
    report = {
        "classes": ["Beach", "Forest", "Harbour"],
        "alpha": [1.0, 0.5, 1.0],
        "composition": [[1, 2, 0], [3, 0, 7]],
        "noise": 1,
        "collapsed_pairs": [["Forest", "Beach", 0.995]],
        "moved": [0.0, 0.25, 0.0],
    }
    (folder / "targets.json").write_text(json.dumps(report))
    keep_targets(run)
    assert read_json(run / "targets.json") == report
    write_report(run)
    page = (run / "report.html").read_text()
    assert "2 clusters of 3 to 10 images; 1 images are in none." in page
    assert "Forest and Beach." in page
    assert "<td>Forest</td><td>tail</td><td>2</td><td>0.50</td><td>25.0 %</td>" in page
    assert "<td>Harbour</td><td>head</td><td>8</td><td>1.00</td>" not in page
    assert "<title>Harbour, 10: 7</title>" in page


@pytest.mark.parametrize("report", [{"note": 1}, {"composition": []}, {"moved": [0.5, 0.5, 0.5]}, {"alpha": [1, 1, 1]}])
def test_every_part_of_the_targets_may_be_missing(run, report):
    (run / "targets.json").write_text(json.dumps(report))
    write_report(run)
    assert ">Targets</h2>" in (run / "report.html").read_text()


def test_a_run_without_what_is_optional_is_drawn(run):
    for name in ("geometry.json", "class_pair.npz", "plots/embedding_map.csv"):
        (run / name).unlink()
    shutil.rmtree(run / "classifiers")
    write_report(run)
    page = (run / "report.html").read_text()
    assert ">Feature space</h2>" not in page
    assert "Best classifier" not in page


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([0, 0, 1, 1, 2, 2, 0, 1], (3, 0)),  # both confused once: the larger
        ([0, 0, 1, 3, 2, 2, 3, 1], (3, 1)),  # also what is taken for the tail class
        ([0, 0, 1, 1, 2, 2, 3, 3], (2, 0)),  # nothing confused: the first tail class, and the largest
    ],
)
def test_the_pair_is_a_weak_tail_class_and_what_it_is_confused_with(predicted, expected):
    true = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    result = classification_metrics(true, np.array(predicted), 4)
    groups = {"head": np.array([0, 1]), "tail": np.array([2, 3])}
    assert confused_pair(result, groups, np.array([9, 8, 2, 1])) == expected


def test_there_is_no_pair_without_a_tail_that_is_tested():
    result = classification_metrics(np.array([0, 0]), np.array([0, 1]), 2)
    counts = np.array([9, 1])
    assert confused_pair(result, {"head": np.array([0]), "tail": np.array([1])}, counts) is None
    assert confused_pair(result, {"middle": np.array([0, 1])}, counts) is None
