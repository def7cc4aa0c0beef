"""One self-contained HTML page: figures, tables, charts, pictures; light and dark; no request leaves it."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eotune.runs.style import STYLE, SWITCH, SWITCH_ICON

# A table's cell: text, or (text, what stands small behind it, such as an interval).
Cell = str | tuple[str, str]

# Nothing but what is in the file itself is ever loaded, whatever a file name or a caption says.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Picture:
    """An image found for a query.

    Attributes:
        path: Its file; a grey square stands for one that cannot be read any more.
        caption: Below it.
        hit: Whether it is the one that was looked for.
    """

    path: Path
    caption: str
    hit: bool = False


class Page:
    """Builds a page from top to bottom; everything but a chart's drawing is escaped.

    Args:
        title: Headline.
        lead: One sentence below it.
        eyebrow: A few words above it.

    Example:
        >>> page = Page("Run", "What happened")
        >>> page.table(["a"], [["<b>"]])
        >>> "&lt;b&gt;" in page.render()
        True
    """

    def __init__(self, title: str, lead: str = "", *, eyebrow: str = "eotune") -> None:
        self.title = title
        self.lead = lead
        self.eyebrow = eyebrow
        self._sections: list[str] = []
        self._parts: list[str] = []

    def section(self, heading: str, note: str = "") -> None:
        """Begin a section, with a sentence on how to read it."""
        self._sections.append(heading)
        self._parts.append(f'<h2 id="s{len(self._sections)}">{html.escape(heading)}</h2>')
        if note:
            self._parts.append(f'<p class="note">{html.escape(note)}</p>')

    def heading(self, words: str) -> None:
        """Begin a part of a section."""
        self._parts.append(f"<h3>{html.escape(words)}</h3>")

    def text(self, words: str, *, warning: bool = False) -> None:
        """Add a paragraph."""
        self._parts.append(f'<p class="{"warn" if warning else "note"}">{html.escape(words)}</p>')

    def cards(self, cards: Iterable[tuple[str, str, str]]) -> None:
        """Add figures in large type: (what it is, value, detail). The first one is the headline."""
        body = "".join(
            f'<div class="card"><span>{html.escape(what)}</span><b>{html.escape(value)}</b>'
            f"<small>{html.escape(detail)}</small></div>"
            for what, value, detail in cards
        )
        self._parts.append(f'<div class="cards">{body}</div>')

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[Cell]], *, strong: int | None = None, wrap: bool = False
    ) -> None:
        """Add a table.

        Args:
            header: Names of the columns; a row of empty names is left out.
            rows: The first cell names the row.
            strong: Number of the row to stress; negative counts from the end.
            wrap: Break long cells, for tables of words.
        """
        listed = list(rows)
        stressed = None if strong is None else strong % max(len(listed), 1)
        head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
        body = "".join(
            f"<tr{' class=strong' if number == stressed else ''}>" + "".join(map(_cell, row)) + "</tr>"
            for number, row in enumerate(listed)
        )
        top = f"<thead><tr>{head}</tr></thead>" if any(header) else ""
        kind = ' class="wrap"' if wrap else ""
        self._parts.append(f'<div class="scroll"><table{kind}>{top}<tbody>{body}</tbody></table></div>')

    def charts(
        self,
        charts: Iterable[tuple[str, str]],
        *,
        legend: Sequence[str] = (),
        kinds: Sequence[str] = ("base", "main"),
    ) -> None:
        """Add charts side by side.

        Args:
            charts: (caption, drawing of :mod:`eotune.runs.charts`).
            legend: What the marks of each of ``kinds`` are.
            kinds: Of marks: by default the grey and the coloured ones.
        """
        if legend:
            names = "".join(
                f'<span><i class="{kind}"></i>{html.escape(name)}</span>'
                for kind, name in zip(kinds, legend, strict=True)
            )
            self._parts.append(f'<div class="legend">{names}</div>')
        body = "".join(
            f'<figure class="panel"><figcaption>{html.escape(caption)}</figcaption>{drawing}</figure>'
            for caption, drawing in charts
        )
        self._parts.append(f'<div class="charts">{body}</div>')

    def wide_chart(self, caption: str, drawing: str) -> None:
        """Add a chart as wide as it is drawn; on a narrow screen it scrolls."""
        self._parts.append(
            f'<figure class="panel wide"><figcaption>{html.escape(caption)}</figcaption>'
            f'<div class="scroll">{drawing}</div></figure>'
        )

    def query(self, words: str, note: str, results: Iterable[Picture], *, sought: Picture | None = None) -> None:
        """Add a text query with the images found, and the image it belongs to in front where that is given."""
        strip = _thumb(sought, "sought") if sought else ""
        strip += "".join(_thumb(picture, "hit" if picture.hit else "") for picture in results)
        self._parts.append(
            f'<div class="query"><p><q>{html.escape(words)}</q><span class="rank">{html.escape(note)}</span></p>'
            f'<div class="strip">{strip}</div></div>'
        )

    def sheet(self, words: str, columns: Iterable[tuple[str, Sequence[Picture]]]) -> None:
        """Add a query with what several models found, side by side: (model, its images)."""
        body = "".join(
            f'<div><h4>{html.escape(name)}</h4><div class="strip">'
            + "".join(_thumb(picture, "hit" if picture.hit else "") for picture in pictures)
            + "</div></div>"
            for name, pictures in columns
        )
        self._parts.append(
            f'<div class="query"><p><q>{html.escape(words)}</q></p><div class="sheet">{body}</div></div>'
        )

    def image(self, path: Path, caption: str) -> None:
        """Add an image as wide as the page."""
        words = html.escape(caption)
        self._parts.append(
            f'<figure class="panel"><figcaption>{words}</figcaption><img alt="{words}" src="{thumbnail(path, 1400)}">'
            "</figure>"
        )

    def code(self, text: str, *, summary: str = "") -> None:
        """Add preformatted text, folded behind ``summary`` where that is given."""
        block = f"<pre>{html.escape(text)}</pre>"
        self._parts.append(f"<details><summary>{html.escape(summary)}</summary>{block}</details>" if summary else block)

    def link(self, target: str, words: str) -> None:
        """Add a link to a file beside the page."""
        self._parts.append(f'<p><a href="{html.escape(target)}">{html.escape(words)}</a></p>')

    def render(self) -> str:
        """Return the page."""
        links = "".join(
            f'<a href="#s{number}">{html.escape(name)}</a>' for number, name in enumerate(self._sections, start=1)
        )
        navigation = f"<nav>{links}</nav>" if len(self._sections) > 2 else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style></head>\n<body><main><header>"
            f'<p class="eyebrow">{html.escape(self.eyebrow)}</p><h1>{html.escape(self.title)}</h1>'
            f'<p class="lead">{html.escape(self.lead)}</p><button id="theme" type="button" '
            f'aria-label="Switch between light and dark" title="Light or dark">{SWITCH_ICON}</button></header>'
            f"{navigation}\n" + "\n".join(self._parts) + f"</main><script>{SWITCH}</script></body></html>\n"
        )


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f"<td>{html.escape(cell)}</td>"
    text, small = cell
    return f"<td>{html.escape(text)}<small>{html.escape(small)}</small></td>"


def _thumb(picture: Picture, kind: str) -> str:
    caption = html.escape(picture.caption)
    return (
        f'<figure class="thumb {kind}"><img alt="{caption}" src="{thumbnail(picture.path)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def thumbnail(path: Path, side: int = 192) -> str:
    """Return an image as a small JPEG in a data URI; a grey square for one that cannot be read."""
    from PIL import Image

    from eotune.core.errors import InputError
    from eotune.data.images import read_image

    try:
        picture = Image.fromarray(read_image(path))
    except InputError:  # moved since the run: the report still stands
        picture = Image.new("RGB", (side, side), "grey")
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
