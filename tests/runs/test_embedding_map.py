import numpy as np
import pytest

from eotune.runs import embedding_map as embedding_map_module
from eotune.runs.embedding_map import embedding_map, lay_out, read_map, write_map


@pytest.fixture
def embeddings(tmp_path):
    """Two far groups of images, each caption near its own image; before adapting, all captions in a third place."""

    def write(images=24, captions=2):
        rng = np.random.default_rng(0)
        centre = np.eye(8)[np.arange(images) % 2]
        near = lambda vectors: vectors + 0.05 * rng.standard_normal(vectors.shape)  # noqa: E731 - shorter than a def
        owner = np.repeat(np.arange(images), captions)
        elsewhere = np.tile(np.eye(8)[5], (len(owner), 1))
        path = tmp_path / "embeddings.npz"
        np.savez(
            path,
            image_index=owner,
            zero_shot_image=near(centre).astype(np.float16),
            zero_shot_text=near(elsewhere).astype(np.float16),
            adapted_image=near(centre).astype(np.float16),
            adapted_text=near(centre[owner]).astype(np.float16),
        )
        return path

    return write


def test_captions_lie_beside_their_images_once_they_are_aligned(embeddings, tmp_path):
    planes = embedding_map(embeddings())
    for (model, _), points in planes.items():
        assert points.shape == (24, 2), model
    group = np.arange(24) % 2
    after = {modality: planes["adapted", modality] for modality in ("image", "text")}
    centres = {m: [points[group == g].mean(0) for g in (0, 1)] for m, points in after.items()}
    across = np.linalg.norm(centres["image"][0] - centres["image"][1])
    for g in (0, 1):
        assert np.linalg.norm(centres["image"][g] - centres["text"][g]) < 0.5 * across
    write_map(tmp_path / "map.csv", planes)
    lines = (tmp_path / "map.csv").read_text().splitlines()[1:]
    assert len(lines) == 2 * 2 * 24
    assert lines[0].split(",")[:3] == ["zero-shot", "image", "0"]
    read = read_map(tmp_path / "map.csv")
    assert read.keys() == planes.keys()
    assert all(np.allclose(read[key], planes[key], atol=1e-3) for key in planes)
    assert read_map(tmp_path / "none.csv") == {}


def test_the_same_embeddings_give_the_same_map(embeddings):
    first = embedding_map(embeddings())
    embedding_map_module._plane.cache_clear()
    second = embedding_map(embeddings())
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_vectors_are_laid_out_once_in_a_process():
    vectors = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
    plane, other = lay_out(vectors), lay_out(vectors + 1)
    assert lay_out(vectors.copy()) is plane
    assert not plane.flags.writeable
    assert not np.array_equal(plane, other)


def test_few_images_have_no_map(embeddings):
    assert embedding_map(embeddings(images=4)) == {}


def test_many_images_are_thinned_out(embeddings):
    assert {len(points) for points in embedding_map(embeddings(images=310, captions=1)).values()} == {300}


def test_a_collapsed_model_is_one_point(tmp_path):
    ones = {
        f"{model}_{kind}": np.ones((8, 4), np.float16)
        for model in ("zero_shot", "adapted")
        for kind in ("image", "text")
    }
    np.savez(tmp_path / "embeddings.npz", image_index=np.arange(8), **ones)
    planes = embedding_map(tmp_path / "embeddings.npz")
    assert len(planes) == 4
    assert not any(points.any() for points in planes.values())
