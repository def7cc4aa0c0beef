"""The engine of a Ray cluster: actors that compute shards; this process reads and writes them.

Plain actors and not Ray Data: the shard is what is resumed, retried smaller and reported, and only this process needs
the stage's folder. Workers need to reach what rows point to, such as images.
"""

import os
import pickle
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from eotune.core.errors import EotuneError, InputError
from eotune.core.lookup import require
from eotune.engines.base import Done, Failed, Fatal, Piece, Pool, WorkerClass, call, start

# A worker that goes down before it is ready this often in a row does so of itself.
STARTS = 3
# How often to look whether a cluster where no worker is ready still has room for one.
_PATIENCE_S = 30
_CAUSE = "its worker died, most often for want of memory"


@dataclass(frozen=True)
class RayEngine:
    """Runs workers on the Ray cluster that this process is connected to.

    Where it is not connected, ``ray.init()`` decides: the cluster of ``RAY_ADDRESS``, one that runs on this machine, or
    a new one here.

    Args:
        workers: How many; as many as there is room for unless given.
        cpus: Cores of each.
        gpus: GPUs of each, but of workers that run no model; a fraction shares one, 0 hides them. None is one for
            workers that run a model, where the cluster has any.
        memory: Bytes to set aside for each. Ray counts them and does not enforce them: it places no worker where they
            are not free, and kills some when a machine runs out.

    Raises:
        InputError: Ray is not installed, or does not give out such amounts.
    """

    workers: int | None = None
    cpus: float = 1
    gpus: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        require("ray", "ray")
        for name, amount in (("cpus", self.cpus), ("gpus", self.gpus or 0)):
            if amount < 0 or (name == "gpus" and amount > 1 and amount % 1):
                raise InputError(f"{name}={amount:g} a worker", remedy="give a whole number, or a share below 1")

    @contextmanager
    def pool(self, worker: WorkerClass, config: Any, *, at_most: int) -> Iterator[Pool]:
        """Start the workers; leaving the context ends them.

        Raises:
            InputError: The cluster has no room for one worker.
        """
        ray = require("ray", "ray")
        is_ours = not ray.is_initialized()
        if is_ours:
            ray.init(log_to_driver=False)
        try:
            engine = replace(self, gpus=self._gpus(worker))
            pool = _Actors(ray, engine, (worker, config), min(self.workers or engine.room(), at_most))
            try:
                yield pool
            finally:
                pool.close()
        finally:
            if is_ours:
                ray.shutdown()

    def room(self) -> int:
        """Return how many workers the cluster as it is has room for.

        Raises:
            InputError: None.
        """
        there = require("ray", "ray").cluster_resources()
        asked = {"CPU": self.cpus, "GPU": self.gpus or 0, "memory": self.memory or 0}
        room = min((int(there.get(name, 0) // amount) for name, amount in asked.items() if amount), default=1)
        if room < 1:
            wants = ", ".join(f"{amount:g} {name}" for name, amount in asked.items() if amount)
            has = ", ".join(f"{there.get(name, 0):g} {name}" for name, amount in asked.items() if amount)
            raise InputError(
                f"a worker asks for {wants}, the Ray cluster has {has}", remedy="ask for less, or add nodes"
            )
        return room

    def _gpus(self, worker: WorkerClass) -> float:
        runs_model = getattr(worker, "runs_model", None)
        if runs_model is False:
            return 0
        if self.gpus is not None:
            return self.gpus
        return float(bool(runs_model) and require("ray", "ray").cluster_resources().get("GPU", 0) >= 1)


class _Actor:
    """A worker, inside a process of Ray's.

    Tables go to and fro pickled: some versions of Ray import its data part, and pandas with it, to send them as such.
    """

    def __init__(self, worker: WorkerClass, config: Any, *, sees_gpus: bool) -> None:
        if not sees_gpus:  # some versions of Ray leave all of them to one that asked for none
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._worker = start(worker, config)

    def ready(self) -> bytes:
        return pickle.dumps(self._worker if isinstance(self._worker, Fatal) else None)

    def call(self, table: bytes) -> bytes:
        worker = self._worker
        return pickle.dumps(worker if isinstance(worker, Fatal) else call(worker, pickle.loads(table)))


@dataclass
class _Member:
    actor: Any
    is_ready: bool = False
    piece: Piece | None = None


class _Actors:
    """A pool of actors; pieces go only to those that are up, since one may wait for room for ever."""

    def __init__(self, ray: Any, engine: RayEngine, recipe: tuple[WorkerClass, Any], count: int) -> None:
        engine.room()
        self.capacity = count
        self._ray, self._engine = ray, engine
        self._recipe = recipe
        self._kind = ray.remote(_Actor).options(
            num_cpus=engine.cpus, num_gpus=engine.gpus, memory=engine.memory, scheduling_strategy="SPREAD"
        )
        self._queue: deque[Piece] = deque()
        self._failed_starts = 0
        self._idle: list[_Member] = []
        self._busy: dict[Any, _Member] = {}  # by the reference to what each is computing, its start at first
        for _ in range(count):
            self._start()

    def submit(self, piece: Piece) -> None:
        self._queue.append(piece)
        self._hand_out()

    def wait(self) -> tuple[Piece, Done | Failed]:
        while True:
            finished, _ = self._ray.wait(list(self._busy), timeout=_PATIENCE_S)
            if not finished:
                if not any(member.is_ready for member in self._busy.values()):
                    self._engine.room()
                continue
            member = self._busy.pop(finished[0])
            try:
                reply = pickle.loads(self._ray.get(finished[0]))
            except self._ray.exceptions.RayError as error:
                if (lost := self._replaced(member, error)) is not None:
                    return lost
                continue
            if isinstance(reply, Fatal):
                raise reply.error
            piece, member.piece, member.is_ready = member.piece, None, True
            self._failed_starts = 0
            self._idle.append(member)
            self._hand_out()
            if piece is not None:
                return piece, reply

    def close(self) -> None:
        for member in (*self._idle, *self._busy.values()):
            self._ray.kill(member.actor)

    def _hand_out(self) -> None:
        while self._queue and self._idle:
            member = self._idle.pop()
            member.piece = self._queue.popleft()
            self._busy[member.actor.call.remote(pickle.dumps(member.piece.table))] = member

    def _replaced(self, member: _Member, error: Exception) -> tuple[Piece, Failed] | None:
        """Start an actor in the place of one that died, and return the piece that it had."""
        if not member.is_ready:
            self._failed_starts += 1
            if self._failed_starts == STARTS:
                # Ray tells the story of where it happened first, and what it was in the last line.
                raise EotuneError(f"a worker cannot be started ({str(error).strip().splitlines()[-1][:300]})")
        self._ray.kill(member.actor)  # where it is only out of reach
        self._start()
        return None if member.piece is None else (member.piece, Failed(_CAUSE, died=True))

    def _start(self) -> None:
        actor = self._kind.remote(*self._recipe, sees_gpus=bool(self._engine.gpus))
        self._busy[actor.ready.remote()] = _Member(actor)
