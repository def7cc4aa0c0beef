import csv
import io
import json
from dataclasses import replace

import pytest

from eotune.runs.averages import average
from eotune.runs.sweep_files import to_csv, to_markdown, write_sweep_files
from eotune.runs.sweep_result import PointResult, SweepResult, TrialResult


def row(value):
    return {"value": value, "low": value - 2, "high": value + 2}


def point(number, settings, values, test=()):
    trials = tuple(
        TrialResult(f"{number}_seed-{seed}", seed, *(
            (None, None, value) if isinstance(value, str) else (row(value), row(test[seed]) if test else None, None)
        ))
        for seed, value in enumerate(values)
    )  # fmt: skip
    found = [trial.validation for trial in trials if trial.validation]
    tested = [trial.test for trial in trials if trial.test]
    label = ", ".join(f"{name}={value}" for name, value in settings.items())
    means = [average(rows) if rows else None for rows in (found, tested)]
    return PointResult(number, label, settings, trials, *means)


@pytest.fixture
def result():
    points = (
        point(0, {"method": "lora", "learning_rate": 0.001}, [10.0, 12.0]),
        point(1, {"method": "lora", "learning_rate": 0.1}, [20.0, 22.0], test=[15.0, 17.0]),
        point(2, {"method": "heads", "learning_rate": 0.001}, [14.0, "diverged | at\nstep 3"]),
        point(3, {"method": "heads", "learning_rate": 0.1}, ["no", "no"]),
    )
    axes = {"method": ("lora", "heads"), "learning_rate": (0.001, 0.1)}
    return SweepResult("small", "mR", axes, points, 1, ("look at the edge",))


def test_the_csv_has_a_line_a_point_and_every_digit(result):
    rows = list(csv.DictReader(io.StringIO(to_csv(result))))
    assert [(one["method"], one["learning_rate"]) for one in rows] == [
        ("lora", "0.001"), ("lora", "0.1"), ("heads", "0.001"), ("heads", "0.1"),
    ]  # fmt: skip
    assert [one["validation_mean"] for one in rows] == ["11.0", "21.0", "14.0", ""]
    assert float(rows[1]["test_low"]) == result.points[1].test.low
    assert [one["interval"] for one in rows] == ["seeds", "seeds", "images", ""]
    assert [one["failed"] for one in rows] == ["0", "0", "1", "2"]
    assert [one["best"] for one in rows] == ["0", "1", "0", "0"]


def test_the_table_says_what_is_best_and_what_failed(result):
    lines = to_markdown(result).splitlines()
    assert lines[0] == "| method | learning_rate | validation mR | test mR | seeds |  |"
    assert lines[3].startswith("| lora | 0.1 | 21.00 [")
    assert lines[3].endswith("| 0, 1 | best |")
    assert lines[5] == "| heads | 0.1 | – | – | 0, 1 | 2 failed |"
    assert "Warning: look at the edge" in lines
    assert "Failed: 2_seed-1: diverged | at step 3" in lines


def test_everything_is_written_and_self_contained(result, tmp_path):
    write_sweep_files(result, tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        "table.csv", "table.md", "table.json", "report.html", "plots/validation.csv", "plots/validation.png",
    }  # fmt: skip
    assert json.loads((tmp_path / "table.json").read_text())["best"] == 1
    page = (tmp_path / "report.html").read_text()
    assert 'href="trials/1_seed-0/report.html"' in page
    assert "trials/0_seed-0/report.html" not in page  # it did not read the test split
    assert "Look at the edge." in page
    assert 'src="http' not in page
    plotted = list(csv.DictReader(io.StringIO((tmp_path / "plots" / "validation.csv").read_text())))
    assert [one["mean"] for one in plotted] == ["11.0", "21.0", "14.0"]


def test_without_an_axis_or_a_figure_the_files_are_written_too(result, tmp_path):
    seeds = replace(result, axes={}, points=(replace(point(0, {}, [1.0, 3.0]), label="small"),), best=0)
    write_sweep_files(seeds, tmp_path / "seeds")
    assert "| small | 2.00" in (tmp_path / "seeds" / "table.md").read_text()
    assert (tmp_path / "seeds" / "plots" / "validation.png").is_file()
    none = replace(result, points=result.points[3:], best=None, warnings=())
    write_sweep_files(none, tmp_path / "none")
    assert not (tmp_path / "none" / "plots" / "validation.png").exists()
    assert "0 of 2" in (tmp_path / "none" / "report.html").read_text()
