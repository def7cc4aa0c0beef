import json

from eotune.runs import demo_select
from eotune.runs.demo_select import COUNTS, selection_chapter


def test_a_chapter_counts_what_each_way_kept(tmp_path, monkeypatch):
    ways = {name: demo_select._STRATEGIES[name] for name in ("all", "random", "perturbation")}
    monkeypatch.setattr(demo_select, "_STRATEGIES", ways)
    rows = selection_chapter(tmp_path / "chapter", records=60)
    truth = [json.loads(line) for line in (tmp_path / "chapter/data/truth.jsonl").read_text().splitlines()]
    whole = rows[0]
    assert [row["kept"] for row in rows] == [60, 20, 20]
    assert whole["wrong"] == sum(record["noisy"] for record in truth)
    assert whole["rare"] == sum(record["rare"] for record in truth)
    assert whole["repeats"] == sum(record["duplicate_of"] is not None for record in truth) > 0
    assert all(row["questions"] + row["repeats"] == row["kept"] for row in rows)
    assert json.loads((tmp_path / "chapter/metrics.json").read_text()) == rows
    page = (tmp_path / "chapter/report.html").read_text()
    assert all(f"{row['run']}/report.html" in page for row in rows)
    assert all(name in page for name in COUNTS)
