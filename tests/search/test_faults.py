"""What goes wrong while an archive is indexed: a full disk, a second writer, images that vanish, break or change."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from eotune.core import files
from eotune.core.errors import InputError
from eotune.engines import shards
from eotune.search import build as build_module
from eotune.search import index as index_module
from eotune.search import segments, store, workers
from eotune.search.build import Speed
from eotune.search.index import Index
from eotune.search.store import Snapshot, writing
from eotune.search.tiles import TileConfig


class Colours:
    """An encoder that takes no time: the mean colour."""

    dim = 3

    def fingerprint(self):
        return "colours"

    def transform(self, image):
        return image.reshape(-1, 3).mean(axis=0, dtype=np.float32) + 1

    def embed_pixels(self, pixels, *, precision):
        vectors = pixels.numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def embed_images(self, images):
        return np.stack([self.transform(image) for image in images])


@pytest.fixture
def build(archive, tmp_path, monkeypatch):
    """Index the archive, in shards of four tiles."""
    monkeypatch.setattr(index_module, "_load", lambda *_: Colours())
    monkeypatch.setattr(workers, "load_model", lambda *_: Colours())

    def run(out=tmp_path / "index", *, resume=False):
        return Index.build(
            archive, out, encoder="tiny", tiles=TileConfig(size=48), speed=Speed(shard_size=4), resume=resume
        )

    return run


def content(folder):
    return [
        (row | {"id": None, "vector": vector.tobytes()})
        for segment in Snapshot(folder).rows.segments
        for row, vector in zip(segment.tiles(range(segment.rows)), segment.vectors, strict=True)
    ]


def by_place(rows):
    return sorted(rows, key=lambda row: (row["path"], row["column"], row["row"]))


def change(archive):
    (archive / "plain/red.png").unlink()
    Image.new("RGB", (60, 48), (9, 90, 9)).save(archive / "plain/green.png")
    Image.new("RGB", (48, 48), (90, 9, 9)).save(archive / "plain/new.png")


class FullDisk:
    """Lets so many files be written, and no more."""

    def __init__(self, monkeypatch, files_left):
        self.left, real = files_left, files.replaced

        def replaced(path):
            self.left -= 1
            if self.left < 0:
                raise OSError(28, "No space left on device", str(path))
            return real(path)

        for module in (files, store, segments, shards):
            monkeypatch.setattr(module, "replaced", replaced)


def test_a_full_disk_at_any_file_leaves_the_old_index(archive, build, tmp_path, monkeypatch):
    build()
    before = content(tmp_path / "index")
    change(archive)
    build(tmp_path / "undisturbed")
    stopped = 0
    while True:
        with monkeypatch.context() as patched:
            FullDisk(patched, stopped)
            copy = tmp_path / f"copy{stopped}"
            shutil.copytree(tmp_path / "index", copy)
            try:
                build(copy)
                break
            except OSError as error:
                assert "No space" in str(error)  # noqa: PT017 - the last time, nothing is raised
        assert content(copy) == before
        assert Index.open(copy).search(image=np.full((4, 4, 3), 200, np.uint8), k=1)
        build(copy, resume=True)
        assert by_place(content(copy)) == by_place(content(tmp_path / "undisturbed"))
        assert not (copy / "work").exists()
        stopped += 1
    assert stopped > 5


def test_an_interruption_while_the_work_is_removed(build, tmp_path, monkeypatch):
    """What is left of half a removal must not stop the next build."""
    real = shutil.rmtree

    def half(folder, **options):
        if folder.exists():
            next(folder.rglob("stage.json")).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", half)
        with pytest.raises(KeyboardInterrupt):
            build()
    assert shutil.rmtree is real
    before = content(tmp_path / "index")
    assert build(resume=True)["added"] == 0
    assert content(tmp_path / "index") == before
    assert [path.name for path in (tmp_path / "index").glob(".*")] == [".lock"]


def test_a_second_writer_is_refused(build, tmp_path):
    build()
    with writing(tmp_path / "index"):
        for attempt in (build, lambda: Index.open(tmp_path / "index").delete("*")):
            with pytest.raises(InputError, match="another process is writing there"):
                attempt()
        assert Index.open(tmp_path / "index").search(like=0, k=1)  # readers go on


def test_an_image_broken_in_its_middle(archive, build, tmp_path):
    build(tmp_path / "whole")
    whole = by_place(content(tmp_path / "whole"))
    path = archive / "utm_20240131.tif"
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(size // 2)
    (archive / "plain/green.png").write_bytes((archive / "plain/green.png").read_bytes()[:60])
    (archive / "plain/empty.jpg").touch()
    (archive / "plain/folder.tif").mkdir()
    (archive / "plain/nowhere.png").symlink_to("not-there.png")
    summary = build()
    failed = {one["id"].partition("@")[0] for one in summary["failures"]}
    assert failed == {"utm_20240131.tif", "plain/green.png", "plain/empty.jpg", "plain/nowhere.png"}
    words = ("cannot be read", "is empty", "is a link to nothing")
    assert all(any(word in one["error"] for word in words) for one in summary["failures"])
    others = [row for row in whole if row["path"] not in failed]
    assert [row for row in by_place(content(tmp_path / "index")) if row["path"] not in failed] == others


@pytest.mark.parametrize("what", ["removed", "smaller", "larger", "no image"])
def test_an_image_that_changes_while_it_is_indexed(archive, build, tmp_path, monkeypatch, geotiff, what):
    names = ["fiji_20200101.tif", "utm_20240131.tif", "plain/blue.png"]
    real = workers.EmbedTiles.__init__
    random = np.random.default_rng(1)

    def disturbed(self, config):  # its tiles are known by now, and not yet read
        for name in names:
            path = archive / name
            if what == "removed":
                path.unlink()
            elif what == "no image":
                path.write_text("nothing to see")
            else:
                side = 20 if what == "smaller" else 200
                values = random.integers(0, 255, (3, side, side), dtype=np.uint8)
                if path.suffix == ".png":
                    Image.fromarray(values.transpose(1, 2, 0)).save(path)
                else:
                    geotiff(values, f"archive/{name}", crs="EPSG:32633", transform=(10, 0, 5e5, 0, -10, 5e6))
            if path.exists():
                os.utime(path, ns=(1, 1))
        real(self, config)

    with monkeypatch.context() as patched:
        patched.setattr(build_module.EmbedTiles, "__init__", disturbed)
        summary = build()
    if what != "larger":
        assert {one["id"].partition("@")[0] for one in summary["failures"]} == {*names}
        assert {row["path"] for row in content(tmp_path / "index")} == {"plain/green.png", "plain/red.png"}
    # The next update has it right, whatever it read then.
    build(resume=True)
    build(tmp_path / "fresh")
    assert by_place(content(tmp_path / "index")) == by_place(content(tmp_path / "fresh"))
