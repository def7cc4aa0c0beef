"""A table as Markdown or CSV text."""

import csv
import io
from collections.abc import Iterable, Sequence

from eotune.runs.page import Cell


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    r"""Return a Markdown table; what stands small behind a cell follows it.

    Example:
        >>> print(markdown_table(["", "mR"], [["a|b", ("1.50", "[1.00, 2.00]")]]))
        |  | mR |
        |---|---|
        | a\|b | 1.50 [1.00, 2.00] |
    """
    lines = [list(map(_plain, row)) for row in (header, *rows)]
    written = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([written[0], "|---" * len(header) + "|", *written[1:]])


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    r"""Return CSV with a header line; None is an empty field.

    Example:
        >>> csv_text(["name", "value"], [["a,b", None]])
        'name,value\n"a,b",\n'
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def _plain(cell: Cell) -> str:
    text = cell if isinstance(cell, str) else " ".join(part for part in cell if part)
    return " ".join(text.replace("|", "\\|").split())
