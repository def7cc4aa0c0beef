"""Successive shortest paths on the graph of clusters: the exact end of an assignment with least sizes.

Nodes are the k clusters and one more, the slack, that takes what clusters without a price hold above their size. The
edge from cluster u to v costs the least regret ``c_iv - c_iu`` over the points i now in u; every edge is taken with
prices, which keeps its reduced cost at 0 or above. A path from a node with too many to one with too few moves a point
along each of its edges, and keeps the assignment the cheapest for the counts that it has (Ahuja, Magnanti and Orlin,
Network Flows, 1993, section 9.7).
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eotune.clustering.reduced_costs import best_two

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def imbalance(counts: Integers, sizes: Integers, prices: Floats) -> Integers:
    """Return by how much each cluster is off: a surplus counts only where a price has drawn it.

    Example:
        >>> imbalance(np.array([9, 9, 1]), np.array([5, 5, 5]), np.array([0.0, 0.1, 0.0])).tolist()
        [0, 4, -4]
    """
    return np.where(prices > 0, counts - sizes, np.minimum(counts - sizes, 0))


def repair(
    costs: NDArray[np.floating], fixed: Integers, sizes: Integers, prices: Floats, lower: Floats, upper: Floats
) -> tuple[Integers, Floats, NDArray[np.bool_]]:
    """Move points until every cluster has its size at the least cost.

    Args:
        costs: ``(k, a)`` of the points that may move.
        fixed: ``(k,)`` other points by cluster.
        sizes: ``(k,)`` least sizes.
        prices: ``(k,)`` prices to begin with.
        lower: ``(k,)`` least prices for which no other point would move.
        upper: ``(k,)`` largest such prices.

    Returns:
        ``(a,)`` labels, ``(k,)`` prices, and ``(k,)`` the clusters whose price would have had to pass its limit: where
        there are any, the sizes are not yet met, and the prices are those reached.
    """
    k = len(costs)
    exact = costs.astype(np.float64)
    members = _Members(exact, best_two(exact, prices)[0].astype(np.int64))
    counts = fixed + np.bincount(members.labels, minlength=k)
    excess = np.append(imbalance(counts, sizes, prices), 0)
    excess[k] = -excess.sum()
    slack = np.where(prices > 0, 0, np.maximum(counts - sizes, 0))
    potentials = np.append(prices, 0.0)
    edges = np.full((k + 1, k + 1), np.inf)
    while excess.any():
        np.maximum(members.regrets + potentials[:k, None] - potentials[:k], 0, out=edges[:k, :k])
        edges[:k, k] = potentials[:k]
        edges[k, :k] = np.where(slack > 0, 0.0, np.inf)
        distances, parents = _distances(edges, excess > 0)
        targets = np.flatnonzero((excess < 0) & (distances < np.inf))
        if not len(targets):
            return members.labels, potentials[:k], np.ones(k, dtype=bool)
        raised = potentials + np.minimum(distances, distances[targets].max())
        raised -= raised[k]
        above, below = raised[:k] - upper, raised[:k] - lower
        if above.max() > below.min():  # else the limits hold up to a common shift of all prices, which moves no point
            shift = (above.max() + below.min()) / 2
            prices = potentials[:k]
            return members.labels, prices, (above > shift) | (below < shift) | (prices <= lower) | (prices >= upper)
        potentials = raised
        # Every edge of the tree of shortest paths now has the reduced cost 0: any of its paths may be used, as long as
        # no two of them want the same point.
        used = np.zeros(k + 1, dtype=bool)
        for target in targets[np.argsort(distances[targets], kind="stable")]:
            path = _path(parents, target)
            if used[path].any():
                continue
            used[path] = True
            excess[path[0]] -= 1
            excess[target] += 1
            for source, end in pairwise(path):
                if end == k:
                    slack[source] += 1
                elif source == k:
                    slack[end] -= 1
                else:
                    members.move(source, end)
    return members.labels, potentials[:k], np.zeros(k, dtype=bool)


def _distances(edges: Floats, sources: NDArray[np.bool_]) -> tuple[Floats, Integers]:
    """Return the least distance of every node from any source, and the node before it (Bellman-Ford); -1 at sources."""
    distances = np.where(sources, 0.0, np.inf)
    parents = np.full(len(edges), -1)
    nodes = np.arange(len(edges))
    while True:
        through = distances[:, None] + edges
        before = through.argmin(axis=0)
        reached = through[before, nodes]
        closer = reached < distances
        if not closer.any():
            return distances, parents
        distances[closer] = reached[closer]
        parents[closer] = before[closer]


def _path(parents: Integers, target: int) -> list[int]:
    """Return the nodes from a source to the target."""
    path = [int(target)]
    while parents[path[-1]] >= 0:
        path.append(int(parents[path[-1]]))
    return path[::-1]


class _Members:
    """The points by cluster, with the cheapest one to move along each edge.

    Attributes:
        labels: ``(a,)`` cluster of every point.
        regrets: ``(k, k)`` the least ``c_iv - c_iu`` over the points i in u; infinite where u is empty or v is u.
    """

    def __init__(self, costs: Floats, labels: Integers) -> None:
        self._costs = costs
        self.labels = labels
        k = len(costs)
        self.regrets = np.empty((k, k))
        self._cheapest = np.empty((k, k), np.int64)  # the column of that point in _columns[u]
        self._columns: list[Floats] = []  # (k, members and free room): regrets of moving each member to each cluster
        self._points: list[Integers] = []
        self._filled: list[int] = []
        for cluster in range(k):
            points = np.flatnonzero(labels == cluster)
            room = len(points) + len(points) // 4 + 16
            columns = np.full((k, room), np.inf)
            np.subtract(costs.take(points, axis=1), costs[cluster, points], out=columns[:, : len(points)])
            columns[cluster] = np.inf
            self._columns.append(columns)
            self._points.append(np.concatenate([points, np.zeros(room - len(points), dtype=np.int64)]))
            self._filled.append(len(points))
            self._cheapest[cluster] = columns.argmin(axis=1)
            self.regrets[cluster] = columns[np.arange(k), self._cheapest[cluster]]

    def move(self, source: int, end: int) -> None:
        """Move the cheapest point of ``source`` for ``end`` there."""
        column = self._cheapest[source, end]
        point = self._points[source][column]
        self._columns[source][:, column] = np.inf
        self._search(source, np.flatnonzero(self._cheapest[source] == column))
        self._add(int(point), end)

    def _search(self, cluster: int, ends: Integers) -> None:
        for end in ends:
            row = self._columns[cluster][end]
            column = row.argmin()
            self._cheapest[cluster, end] = column
            self.regrets[cluster, end] = row[column]

    def _add(self, point: int, cluster: int) -> None:
        column = self._filled[cluster]
        if column == len(self._points[cluster]):
            self._columns[cluster] = np.concatenate(
                [self._columns[cluster], np.full_like(self._columns[cluster], np.inf)], axis=1
            )
            self._points[cluster] = np.concatenate([self._points[cluster], np.zeros_like(self._points[cluster])])
        regrets = self._costs[:, point] - self._costs[cluster, point]
        regrets[cluster] = np.inf
        self._columns[cluster][:, column] = regrets
        self._points[cluster][column] = point
        self._filled[cluster] = column + 1
        self.labels[point] = cluster
        closer = regrets < self.regrets[cluster]
        self.regrets[cluster][closer] = regrets[closer]
        self._cheapest[cluster][closer] = column
