from eotune.runs import demo_long_tail
from eotune.runs.demo_long_tail import GROUPS, SPECTRA, long_tail_chapter


def test_one_recipe_serves_three_spectra(tmp_path, monkeypatch):
    methods = {name: demo_long_tail.METHODS[name] for name in ("frozen", "debLoRA")}
    monkeypatch.setattr(demo_long_tail, "METHODS", methods)
    rows = long_tail_chapter(tmp_path / "chapter", per_class={"train": 20, "validation": 2, "test": 2}, epochs=2)
    assert [(row["spectrum"], row["method"]) for row in rows] == [(s, m) for s in SPECTRA for m in methods]
    for row in rows:
        assert all(row[group][1] <= row[group][0] <= row[group][2] for group in GROUPS)
        assert row["own"] is None
        assert (tmp_path / "chapter" / row["run"] / "metrics.json").is_file()
    page = (tmp_path / "chapter" / "report.html").read_text()
    assert all(f'href="{row["run"]}/report.html"' in page for row in rows)
