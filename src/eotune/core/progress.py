"""Progress on stderr: a bar with rate and remaining time where someone watches, quiet otherwise."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")


def say(message: str) -> None:
    """Print one line to stderr; stdout is kept for results."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def progress(items: Iterable[Item], *, total: int | None = None, description: str = "") -> Iterator[Item]:
    """Iterate over ``items`` behind a progress bar with rate and remaining time on stderr.

    The bar shows only on a terminal, so that logs stay readable.

    Args:
        items: What to iterate over.
        total: Their number, when ``items`` has no length.
        description: What is being done, in a word or two.

    Yields:
        Each item.

    Example:
        >>> list(progress([1, 2, 3], description="counting"))
        [1, 2, 3]
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if total is None and isinstance(items, Sized):
        total = len(items)
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, rate="")
        for item in items:
            yield item
            speed = bar.tasks[task].speed
            bar.update(task, advance=1, rate=f"{speed:.1f}/s" if speed else "")
