import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from eotune.search.filters import Filter, make_filter
from eotune.search.index import Index
from eotune.search.segments import SegmentRows
from eotune.search.store import read_manifest


def test_threads_read_a_segment_one_at_a_time(archive, tmp_path):
    class Watched:
        inside = most = 0

        def __getattr__(self, name):
            def read(*arguments, **settings):
                self.inside += 1
                self.most = max(self.most, self.inside)
                threading.Event().wait(0.01)
                self.inside -= 1
                return getattr(file, name)(*arguments, **settings)

            return read

    Index.build(archive, tmp_path / "index", encoder="tiny")
    manifest = read_manifest(tmp_path / "index")
    (segment,) = SegmentRows(tmp_path / "index", manifest).segments
    file, segment._file = segment._file, Watched()
    with ThreadPoolExecutor(4) as threads:
        taken = [threads.submit(segment.tiles, [0]) for _ in range(4)]
        columns = [threads.submit(segment.column, name) for name in ("id", "time")]
    assert {len(one.result()) for one in taken} == {1}
    assert {len(one.result()) for one in columns} == {segment.rows}
    assert segment._file.most == 1


def test_tiles_are_the_same_whatever_filters_have_read(archive, tmp_path):
    Index.build(archive, tmp_path / "index", encoder="tiny")
    (segment,) = SegmentRows(tmp_path / "index", read_manifest(tmp_path / "index")).segments
    rows = [3, 0, 3, segment.rows - 1]
    first = segment.tiles(rows)
    for name in ("path", "west", "geometry", "time"):
        segment.column(name)
        assert segment.tiles(rows) == first
        assert [list(tile) for tile in segment.tiles(rows)] == [list(tile) for tile in first]


def test_a_filter_is_looked_up_once_and_another_anew(archive, tmp_path, monkeypatch):
    Index.build(archive, tmp_path / "index", encoder="tiny")
    rows = SegmentRows(tmp_path / "index", read_manifest(tmp_path / "index"))
    query = np.eye(1, rows.segments[0].vectors.shape[1], dtype=np.float32)[0]

    def found(where):
        return sorted(tile["id"] for tile, _ in rows.nearest(query, 100, minimum=-2, where=where))

    pictures, rasters, everything = (make_filter(path=path) for path in ("*.png", "*.tif", "*"))
    assert found(pictures)
    assert found(rasters)
    assert sorted(found(pictures) + found(rasters)) == found(everything)
    monkeypatch.setattr(Filter, "rows", None)
    assert found(make_filter(path="*")) == sorted(range(len(rows)))
