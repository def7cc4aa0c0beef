"""One self-contained HTML page: tables, cards, pictures; light and dark; no request leaves it."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5d6875;--paper:#fbfbf9;--card:#fff;--line:#dfe3e6;
--accent:#1f6f68;--good:#1f7a4d;--bad:#b3462f}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa5b1;--paper:#12161b;--card:#1a2027;--line:#2c343d;
--accent:#63b8ae;--good:#5fc08d;--bad:#e2836d}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1rem 4rem}
h1{font-size:1.7rem;margin:0 0 .2rem}
h2{font-size:1.15rem;margin:2.4rem 0 .7rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
p.lead{color:var(--soft);margin:.2rem 0 1.4rem}
.cards{display:flex;flex-wrap:wrap;gap:.8rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem;min-width:9.5rem;
flex:1}
.card b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:.86rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:.4rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}
th{color:var(--soft);font-weight:600}
img{max-width:100%;height:auto;border-radius:.4rem}
img.plot{background:#fff;padding:.4rem;border:1px solid var(--line)}
.query{margin:1rem 0}
.query q{font-weight:600}
.query small{color:var(--soft)}
.row{display:flex;gap:.5rem;overflow-x:auto;margin-top:.4rem}
.row figure{margin:0;flex:0 0 auto;width:7rem}
.row img{width:7rem;height:7rem;object-fit:cover;border:3px solid transparent}
.row .hit img{border-color:var(--good)}
figcaption{font-size:.78rem;color:var(--soft)}
pre{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.8rem;overflow-x:auto;
font-size:.84rem}
.warn{border-left:4px solid var(--bad);padding:.4rem .8rem;background:var(--card)}
""".strip()


class Page:
    """Builds a page from top to bottom; everything written is escaped.

    Args:
        title: Headline.
        lead: One sentence below it.

    Example:
        >>> page = Page("Run", "What happened")
        >>> page.table(["a"], [["<b>"]])
        >>> "&lt;b&gt;" in page.render()
        True
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="lead">{html.escape(lead)}</p>']

    def section(self, heading: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(heading)}</h2>")

    def text(self, words: str, *, warning: bool = False) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p{' class=warn' if warning else ''}>{html.escape(words)}</p>")

    def cards(self, cards: Iterable[tuple[str, str]]) -> None:
        """Add figures in large type: (value, what it is)."""
        body = "".join(
            f'<div class="card"><b>{html.escape(v)}</b><span>{html.escape(k)}</span></div>' for v, k in cards
        )
        self._parts.append(f'<div class="cards">{body}</div>')

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table; the first column is left-aligned."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self._parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def picture(self, path: Path, alt: str) -> None:
        """Embed a PNG."""
        data = base64.b64encode(path.read_bytes()).decode()
        self._parts.append(f'<img class="plot" alt="{html.escape(alt)}" src="data:image/png;base64,{data}">')

    def query(self, words: str, note: str, results: Iterable[tuple[Path, str, bool]]) -> None:
        """Add a text query with its first images: (file, caption, whether it is the right one)."""
        figures = "".join(
            f'<figure class="{"hit" if hit else ""}"><img alt="" src="{_thumbnail(path)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            for path, caption, hit in results
        )
        self._parts.append(
            f'<div class="query"><q>{html.escape(words)}</q> <small>{html.escape(note)}</small>'
            f'<div class="row">{figures}</div></div>'
        )

    def code(self, text: str) -> None:
        """Add preformatted text."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def render(self) -> str:
        """Return the page."""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style></head>"
            f"<body><main>{''.join(self._parts)}</main></body></html>\n"
        )


def _thumbnail(path: Path, side: int = 160) -> str:
    from PIL import Image

    from eotune.core.errors import InputError
    from eotune.data.images import read_image

    try:
        picture = Image.fromarray(read_image(path))
    except InputError:  # moved since the run: the report still stands
        picture = Image.new("RGB", (side, side), "grey")
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
