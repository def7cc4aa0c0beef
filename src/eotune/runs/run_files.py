"""What the directory of a finished run says, whatever its task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eotune.core.files import read_json
from eotune.runs.directory import read_log
from eotune.runs.figures import find

REPORT = "report.html"  # the last file that a run writes


@dataclass(frozen=True)
class RunFiles:
    """What a run directory says."""

    path: Path
    recipe_text: str
    recipe: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]
    data: Mapping[str, Any]
    environment: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    queries: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, run: Path) -> "RunFiles":
        """Read the files of a finished run.

        Raises:
            InputError: One is missing or broken.
        """
        recipe_text = (run / "recipe.yaml").read_text(encoding="utf-8")
        queries = run / "queries.json"
        return cls(
            path=run,
            recipe_text=recipe_text,
            recipe=yaml.safe_load(recipe_text),
            rows=read_json(run / "metrics.json"),
            summary=read_json(run / "summary.json"),
            data=read_json(run / "data.json"),
            environment=read_json(run / "environment.json"),
            log=read_log(run / "log.jsonl"),
            queries=read_json(queries) if queries.is_file() else [],
        )

    def row(self, metric: str, *, split: str = "test", model: str = "adapted") -> Mapping[str, Any] | None:
        """Return one row of metrics.json, or None."""
        return find(self.rows, metric, split=split, model=model)

    @property
    def primary(self) -> Mapping[str, Any]:
        """The row that the run is judged by."""
        return next(row for row in self.rows if row["primary"])
