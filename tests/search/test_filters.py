import numpy as np
import pytest
from shapely import Point

from eotune.core.errors import InputError
from eotune.search.filters import box_of, make_filter, surrounding


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bbox": "1,2,3"}, "four numbers"),
        ({"bbox": "a,b,c,d"}, "four numbers"),
        ({"bbox": (0, 10, 5, -10)}, "no box on Earth"),
        ({"bbox": "nan,0,1,1"}, "no box on Earth"),
        ({"bbox": "0,0,200,1"}, "no box on Earth"),
        ({"since": "soon"}, "since 'soon': is no date"),
        ({"until": "2024-13-01"}, "no date"),
        ({"since": "2024-01-02", "until": "2024-01-01"}, "exchange"),
    ],
)
def test_filters_without_meaning(values, message):
    with pytest.raises(InputError, match=message):
        make_filter(**values)


def test_a_day_is_within_its_own_bounds():
    one = make_filter(since="2024-01-31", until="2024-01-31")
    assert one.until - one.since == 24 * 3600 * 10**6
    assert make_filter(until="2024-01-31T12:00:00").until % (24 * 3600 * 10**6) == 12 * 3600 * 10**6


def test_a_box_across_the_antimeridian_has_two_parts():
    area = box_of((170, -10, -170, 10))
    assert area.contains(Point(175, 0))
    assert area.contains(Point(-175, 0))
    assert not area.contains(Point(0, 0))


def _arc(*intervals):
    west, east = np.array(intervals, float).T
    box = surrounding(west, np.zeros(len(west)), east, np.ones(len(west)))
    return box[0], box[2]


def test_the_box_around_all_is_the_narrowest():
    assert _arc((5, 6), (1, 2), (1.5, 5.5)) == (1, 6)
    assert _arc((170, 172), (-178, -170)) == (170, -170)
    assert _arc((-180, 180), (175, 176)) == (175, -180)
    assert _arc((-180, 180)) == (-180, 180)
    assert _arc((np.nan, np.nan), (1, 2)) == (1, 2)
    assert surrounding(*np.full((4, 2), np.nan)) is None
