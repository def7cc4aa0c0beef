import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from eotune.core.errors import InputError
from eotune.core.seeds import generator
from eotune.metrics.retrieval import RetrievalRanks, recall_intervals, recalls
from eotune.runs.compare import compare
from eotune.runs.compare_files import check_target, to_csv, to_html, to_json, to_markdown, write_comparison_file
from eotune.runs.embedding_map import write_map
from eotune.runs.plots import EMBEDDING_MAP
from eotune.runs.recipe import parse_recipe

IMAGES, CAPTIONS = 9, 2
OWNER = np.repeat(np.arange(IMAGES), CAPTIONS)


def ranks_of(*keys):
    rng = generator(*keys)
    return RetrievalRanks(rng.integers(1, 16, IMAGES), rng.integers(1, 16, IMAGES * CAPTIONS))


@pytest.fixture
def make_run(recipe_values, tmp_path):
    """Write a run directory's files as a run leaves them, with figures drawn at random."""

    def make(name, *, seed=0, method="harma", digest="abc", trainable=10, processor="slow", **training):
        folder = tmp_path / name
        folder.mkdir()
        recipe = parse_recipe({**recipe_values(method, **training), "name": name, "seed": seed})
        ranks = ranks_of(name, seed)
        values, intervals = recalls(ranks), recall_intervals(ranks, OWNER)
        rows = [
            {
                "task": "retrieval", "dataset": "scenes", "split": "test", "model": "adapted", "metric": metric,
                "value": value, "low": intervals[metric][0], "high": intervals[metric][1], "n": IMAGES, "seed": seed,
                "primary": metric == "mR",
            }
            for metric, value in values.items()
        ]  # fmt: skip
        rows.append({**rows[0], "metric": "alignment", "value": -1.5 - seed, "low": None, "high": None})
        summary = {
            "trainable_parameters": trainable, "pretrained_parameters": 100, "total_parameters": 110,
            "training_seconds": 10 + seed, "step_seconds": 0.25, "peak_memory_mb": 100 + seed,
        }  # fmt: skip
        (folder / "recipe.yaml").write_text(recipe.to_yaml())
        (folder / "metrics.json").write_text(json.dumps(rows))
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "data.json").write_text(json.dumps({"splits": {"test": {"sha256": digest}}}))
        (folder / "environment.json").write_text(json.dumps({"processor": processor}))
        np.savez(
            folder / "embeddings.npz", image_index=OWNER, adapted_image_ranks=ranks.image_to_text,
            adapted_text_ranks=ranks.text_to_image,
        )  # fmt: skip
        return folder

    return make


def test_runs_that_differ_in_the_seed_alone_form_a_group(make_run):
    runs = [make_run(f"a{seed}", seed=seed) for seed in (2, 0, 1)] + [make_run("b", method="lora", trainable=0)]
    comparison = compare(runs)
    first, second = comparison.groups
    assert (first.label, first.seeds, first.runs[0]) == ("harma", (0, 1, 2), str(runs[1]))
    assert (second.label, second.seeds) == ("lora", (0,))
    values = [recalls(ranks_of(f"a{seed}", seed))["mR"] for seed in range(3)]
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (first.score.low, first.score.high) == pytest.approx(expected)
    assert (first.score.value, first.score.over) == (pytest.approx(np.mean(values)), "seeds")
    assert (second.score.low, second.score.high) == recall_intervals(ranks_of("b", 0), OWNER)["mR"]
    assert (first.training_seconds, first.peak_memory_mb, first.share) == (11, 102, 0.1)
    assert comparison.images == IMAGES


def test_paired_differences_are_those_of_the_slow_way(make_run):
    seeds = (0, 1, 2)
    first = [make_run(f"a{seed}", seed=seed) for seed in seeds]
    second = [make_run(f"b{seed}", seed=seed, epochs=3) for seed in (*seeds, 7)]
    difference = compare([*first, *second]).groups[1].difference
    assert difference.seeds == seeds
    by_seed = [recalls(ranks_of(f"b{s}", s))["mR"] - recalls(ranks_of(f"a{s}", s))["mR"] for s in seeds]
    assert difference.value == pytest.approx(np.mean(by_seed))
    assert difference.over_seeds == pytest.approx(stats.t.interval(0.95, 2, np.mean(by_seed), stats.sem(by_seed)))

    def slow(ranks, drawn):
        texts = [rank for image in drawn for rank in ranks.text_to_image[image == OWNER]]
        shares = [np.mean([rank <= k for rank in side]) for side in (ranks.image_to_text[drawn], texts)
                  for k in (1, 5, 10)]  # fmt: skip
        return 100 * np.mean(shares)

    rng = generator(0, "bootstrap", IMAGES)
    samples = []
    for size in [64] * 15 + [40]:
        for drawn in rng.integers(IMAGES, size=(size, IMAGES)):
            pairs = [slow(ranks_of(f"b{s}", s), drawn) - slow(ranks_of(f"a{s}", s), drawn) for s in seeds]
            samples.append(np.mean(pairs))
    assert difference.over_images == pytest.approx(np.quantile(samples, [0.025, 0.975]))


def test_groups_without_a_common_seed_are_not_paired_by_seed(make_run):
    comparison = compare([make_run("a", seed=0), make_run("b", seed=1, epochs=3)])
    difference = comparison.groups[1].difference
    assert (difference.seeds, difference.over_seeds) == ((), None)
    assert difference.over_images is not None
    assert any("share no seed" in caution for caution in comparison.cautions)


def test_a_metric_without_ranks_has_no_interval_over_images(make_run):
    runs = [make_run(f"{name}{seed}", seed=seed, epochs=epochs) for name, epochs in (("a", 2), ("b", 3))
            for seed in (0, 1)]  # fmt: skip
    comparison = compare(runs, metric="alignment")
    assert comparison.groups[0].score.value == -2
    assert comparison.groups[1].difference.over_images is None
    assert "<svg" not in to_html(comparison).partition("</header>")[2]
    with pytest.raises(InputError, match="unknown metric of .*a0 'aligment'; did you mean 'alignment'"):
        compare(runs, metric="aligment")


def test_defaults_written_out_or_not_make_one_recipe(make_run):
    runs = [make_run("a", seed=0), make_run("b", seed=1)]
    text = (runs[1] / "recipe.yaml").read_text()
    (runs[1] / "recipe.yaml").write_text(text.replace("  bottleneck: 32\n", "  bottleneck: 32\n  share: all\n"))
    assert len(compare(runs).groups) == 1


def test_labels_say_what_differs(make_run):
    runs = [make_run("a", method="lora"), make_run("b", learning_rate=1e-3), make_run("c", learning_rate=2e-3)]
    labels = [group.label for group in compare(runs).groups]
    assert labels == ["lora, learning_rate=0.0004", "harma, learning_rate=0.001", "harma, learning_rate=0.002"]


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda run: (run / "metrics.json").unlink(), "is not finished .* eotune run .*recipe.yaml --out .*b --resume"),
        (lambda run: (run / "recipe.yaml").unlink(), "is not a run directory"),
        (lambda run: (run / "metrics.json").write_text("[1]"), "metrics.json: is no list of figures"),
        (lambda run: (run / "data.json").write_text("[]"), "data.json: holds no JSON object"),
        (lambda run: (run / "data.json").write_text('{"splits": 3}'), "has no checksum of the test split"),
        (lambda run: (run / "summary.json").write_text("{"), "summary.json: not valid JSON"),
        (lambda run: (run / "embeddings.npz").write_text("?"), "embeddings.npz: cannot be read"),
        (lambda run: (run / "data.json").write_text('{"splits": {"test": {"sha256": "x"}}}'), "other images or capt"),
    ],
)
def test_what_cannot_be_compared_is_refused(make_run, break_it, says):
    runs = [make_run("a"), make_run("b", epochs=3)]
    break_it(runs[1])
    with pytest.raises(InputError, match=says) as caught:
        compare(runs)
    assert "/b" in str(caught.value)


def test_a_run_named_twice_or_missing_is_refused(make_run, tmp_path):
    run = make_run("a")
    with pytest.raises(InputError, match="has the recipe and the seed 0 of"):
        compare([run, run])
    with pytest.raises(InputError, match="no such run directory"):
        compare([run, tmp_path / "none"])


def test_every_format_says_the_same(make_run, tmp_path):
    runs = [make_run("a"), make_run("b", epochs=3, processor="fast")]
    comparison = compare(runs)
    score = comparison.groups[1].score.value
    for suffix, text in {".md": to_markdown, ".csv": to_csv, ".json": to_json, ".html": to_html}.items():
        path = tmp_path / f"table{suffix}"
        write_comparison_file(comparison, path)
        assert path.read_text() == text(comparison)
        assert f"{score:.2f}"[:-1] in path.read_text()
        with pytest.raises(InputError, match="is there already"):
            check_target(path)
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert [float(row["value"]) for row in rows] == [group.score.value for group in comparison.groups]
    assert json.loads(to_json(comparison))["groups"][1]["difference"]["over_seeds"] is None
    assert "different machines" in to_markdown(comparison)
    assert 'src="http' not in to_html(comparison)
    with pytest.raises(InputError, match=r"unknown format '.htm'; did you mean .html\?"):
        check_target(tmp_path / "table.htm")


def test_retention_stands_beside_the_figures_where_every_run_of_a_group_has_it(make_run, tmp_path):
    runs = [make_run("a0"), make_run("a1", seed=1), make_run("b0", method="lora")]
    for run, value in ((runs[0], 40.0), (runs[1], 44.0)):
        rows = json.loads((run / "metrics.json").read_text())
        kept = {
            **rows[0],
            "metric": "mR",
            "split": "retention",
            "value": value,
            "low": 1.0,
            "high": 90.0,
            "primary": False,
        }
        (run / "metrics.json").write_text(json.dumps([*rows, kept]))
    recipe = (runs[0] / "recipe.yaml").read_text()
    listed = "  retention: {captions: photos.jsonl}\n"
    (runs[0] / "recipe.yaml").write_text(recipe.replace("  retention: null\n", listed))
    comparison = compare(runs)
    first, second = comparison.groups
    assert first.seeds == (0, 1)
    assert first.retention.value == 42.0
    assert second.retention is None
    assert "retention mR" in to_markdown(comparison)
    assert next(csv.DictReader(io.StringIO(to_csv(comparison))))["retention"] == "42.0"
    assert "parameters trained" in to_html(comparison)
    assert "retention" not in to_markdown(compare([runs[2]]))


def test_embedding_maps_stand_side_by_side(make_run):
    runs = [make_run("plain", method="lora"), make_run("adaptive")]
    planes = {("adapted", kind): np.arange(12.0).reshape(6, 2) for kind in ("image", "text")}
    (runs[1] / "plots").mkdir()
    write_map(runs[1] / "plots" / EMBEDDING_MAP, planes)
    comparison = compare(runs)
    assert [group.geometry for group in comparison.groups] == [{"alignment": -1.5}, {"alignment": -1.5}]
    page = to_html(comparison)
    assert "-1.500" in page
    assert page.count("map of image and text embeddings") == 1
