"""A page that stands alone: one HTML file with its pictures and its style inside, for a screen, light or dark, and for paper.

    html = page("Title", [section("Heading", text("Words."), table(header, rows, "What it shows."), image(path, "What one sees."),
                                  details("Deck", long_text))])

The parts escape whatever they are given: it is text, never markup."""
import base64
import html
import math
import os
import re
import struct
from dataclasses import dataclass

DPI = 150  # of the figures; a pixel of a page is 1/96 inch
KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif", b"\xff\xd8\xff": "image/jpeg"}
# nothing may be fetched, not even by mistake
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --faint: #5b6570; --paper: #fff; --line: #d8dde2; --shade: #f4f6f8; --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ea; --faint: #9aa5b0; --paper: #16191c; --line: #363c43; --shade: #1f2429; --mark: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
p { margin: .6rem 0; overflow-wrap: anywhere; }
p.lead, figcaption { color: var(--faint); }
p.warning { border-left: 4px solid #d55e00; padding: .3rem .8rem; background: var(--shade); }
figure { margin: 1.2rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { font-size: .9rem; margin-top: .4rem; max-width: 48rem; }
.wide { overflow-x: auto; }
table { min-width: min(100%, 30rem); border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } thead th { border-bottom: 2px solid var(--line); white-space: nowrap; }
th.number, td.number { text-align: right; white-space: nowrap; } td:first-child { white-space: nowrap; }
tbody tr:hover { background: var(--shade); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 1rem 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--mark); }
pre { background: var(--shade); padding: .8rem 1rem; border-radius: 4px; overflow-x: auto; font: .85rem/1.45 ui-monospace, monospace; }
@media print {
  :root { color-scheme: light; --ink: #000; --faint: #444; --paper: #fff; --line: #bbb; --shade: #fff; --mark: #000; }
  @page { margin: 16mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; } .wide { overflow: visible; }
  pre { white-space: pre-wrap; columns: 2; border: 1px solid var(--line); }
  details::details-content { content-visibility: visible; }
}
"""


@dataclass(frozen=True)
class Part:
    """A finished piece of a page."""

    html: str


def page(title, sections, lead=""):
    """The whole file as text. `lead`: a line under the title; `sections`: what section() gives."""
    heading = f"<h1>{escape(title)}</h1>\n" + (f'<p class="lead">{escape(lead)}</p>\n' if lead else "")
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<style>{STYLE}</style>\n</head>\n'
            f"<body>\n{heading}{''.join(part.html for part in sections)}</body>\n</html>\n")


def section(heading, *parts):
    """Parts under a heading; one without parts is left out of the page."""
    return Part(f"<section>\n<h2>{escape(heading)}</h2>\n{''.join(part.html for part in parts)}</section>\n" if parts else "")


def text(words):
    """Paragraphs, separated by empty lines."""
    return Part("".join(f"<p>{escape(paragraph)}</p>\n" for paragraph in re.split(r"\n\s*\n", words.strip())))


def warning(words):
    return Part(f'<p class="warning">{escape(words)}</p>\n')


def facts(pairs):
    """Names and what they are, in two columns; a pair without a value is left out."""
    return Part("<dl>\n" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(show(value))}</dd>\n"
                                   for name, value in pairs if value not in (None, "")) + "</dl>\n")


def table(header, rows, caption=""):
    """Cells are text or numbers, None for a figure that is not defined. A column of numbers, as text too, is aligned to the right."""
    cells = [[show(cell) for cell in row] for row in rows]
    kinds = [' class="number"' if _numeric([row[i] for row in cells]) else "" for i in range(len(header))]
    words = f"<figcaption>{escape(caption)}</figcaption>\n" if caption else ""  # a <caption> would be as wide as a table that scrolls
    body = "".join(_line("td", row, kinds) for row in cells)
    head = _line("th", header, kinds)
    return Part(f'<figure>\n<div class="wide"><table>\n<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n{words}</figure>\n')


def image(source, caption=""):
    """A PNG, GIF or JPEG, a path or the file's bytes, held by the page itself. The caption is its text for those who cannot see it."""
    data = source
    if not isinstance(source, bytes):
        with open(source, "rb") as file:
            data = file.read()
    kind = next((kind for start, kind in KINDS.items() if data.startswith(start)), None)
    if kind is None:
        raise ValueError("the bytes are no PNG, GIF or JPEG" if source is data else f"{os.fspath(source)}: no PNG, GIF or JPEG")
    words = f"\n<figcaption>{escape(caption)}</figcaption>" if caption else ""
    picture = f'<img{_size(data)} alt="{escape(caption)}" src="data:{kind};base64,{base64.b64encode(data).decode()}">'
    return Part(f"<figure>\n{picture}{words}\n</figure>\n")


def details(summary, words):
    """Text as it is, behind a line that opens it."""
    return fold(summary, Part(f"<pre>{escape(words.rstrip())}</pre>\n"))


def fold(summary, *parts):
    """Parts behind a line that opens them."""
    return Part(f"<details>\n<summary>{escape(summary)}</summary>\n{''.join(part.html for part in parts)}</details>\n")


def escape(words):
    """Characters that HTML cannot hold are replaced, too."""
    return html.escape(re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", words))


def show(value):
    if value is None or isinstance(value, float) and math.isnan(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _line(tag, row, kinds):
    return "<tr>" + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(row, kinds)) + "</tr>\n"


def _numeric(cells):
    """Whether a column is one of numbers: at least half of its cells that say something are, and are not dates or names. How many runs
    a number is the mean of may follow it, or a word on what it is of."""
    told = [text for cell in cells if (text := re.sub(r" \((\d+ of \d+|[a-z]+)\)$", "", cell)) not in ("–", "-", "")]
    numbers = [cell for cell in told if re.fullmatch(r"[<>+−-]?\s*(\d[\d,.]*(e[+-]?\d+)?|inf)( ?[%±×] ?[\d.e+-]*)*", cell)]
    return bool(told) and 2 * len(numbers) >= len(told)


def _size(data):
    """Width and height of a PNG as attributes, so that nothing moves while the page is read."""
    if not data.startswith(b"\x89PNG") or len(data) < 24:
        return ""
    width, height = (round(side * 96 / DPI) for side in struct.unpack(">II", data[16:24]))
    return f' width="{width}" height="{height}"'
