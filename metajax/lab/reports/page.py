"""A report as one self-contained HTML file: no server, no scripts, embedded figures.

A page is built as a tree of elements, so that user-provided text is always escaped.
"""

import base64
from io import BytesIO
import re
import struct
from typing import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_NUMBER = re.compile(r"[-+±(]*\s?\d[^,]{0,30}$")  # such as (7.0 ± 0.9)e-05: it is not broken into lines

# Legible on a phone without zooming: no text below 16 px, and what is wider than the page scrolls in a box of its own.
_STYLE = '''
:root { color-scheme: light dark; --text: #1a1a1a; --quiet: #555; --page: #fff; --box: #f6f6f6; --line: #ccc }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --quiet: #b0b0b0; --page: #161616; --box: #242424; --line: #4a4a4a }
}
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 66rem;
       margin: 0 auto; padding: 1rem; overflow-wrap: break-word }
h1, h2 { line-height: 1.2; margin: 2rem 0 .5rem; overflow-wrap: anywhere }
.wide, figure { overflow-x: auto }
table { border-collapse: collapse; margin: .8rem 0 }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line) }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; min-width: 4rem }
.number, td:first-child { white-space: nowrap }
figure { margin: 1rem 0 }
.half { display: inline-block; width: 46%; min-width: 20rem; margin-right: 1rem; vertical-align: top }
img { max-width: 100%; height: auto; background: #fff }
figcaption { color: var(--quiet); max-width: 46rem }
.broad { min-width: 40rem }
pre { background: var(--box); padding: .8rem; overflow-x: auto; font-size: 1rem }
@media (max-width: 40rem) { td:first-child { white-space: normal } .half { width: 100%; min-width: 0 } }
'''


def page(title: str, parts: Sequence[Element], heading: str | None = None) -> str:
  """The whole file.

  title: the title in the browser
  parts: elements made by the functions below
  heading: the main heading; by default the title
  """
  document = Element("html", lang="en")
  head = SubElement(document, "head")
  SubElement(head, "meta", charset="utf-8")
  SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
  head.extend([_words("title", title), _words("style", _STYLE)])
  SubElement(document, "body").extend([_words("h1", heading or title), *parts])
  return "<!DOCTYPE html>\n" + tostring(document, encoding="unicode", method="html") + "\n"


def heading(text: str) -> Element:
  """A heading."""
  return _words("h2", text)


def paragraph(text: str) -> Element:
  """A paragraph."""
  return _words("p", text)


def listing(sentences: Sequence[str]) -> Element:
  """A list of sentences."""
  whole = Element("ul")
  whole.extend([_words("li", sentence) for sentence in sentences])
  return whole


def preformatted(text: str) -> Element:
  """Preformatted text."""
  return _words("pre", text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Element:
  """A table; raises ValueError if a row is not as long as the header."""
  if any(len(row) != len(header) for row in rows):
    raise ValueError(f"every row of a table needs {len(header)} cells, one per column.")
  frame = Element("div", {"class": "wide"})
  whole = SubElement(frame, "table")
  SubElement(SubElement(whole, "thead"), "tr").extend([_words("th", name, scope="col") for name in header])
  body = SubElement(whole, "tbody")
  for row in rows:
    SubElement(body, "tr").extend([_words("td", cell, **({"class": "number"} if _NUMBER.match(cell) else {}))
                                   for cell in row])
  return frame


def picture(content: bytes, caption: str, half: bool = False, whole: bool = False) -> Element:
  """An embedded PNG above its caption, which is also its alternative text.

  content: the PNG file
  half: use half the width, so that two figures fit side by side
  whole: never scroll it, as suits one wide panel; a row of panels would be too small to read on a phone
  """
  figure = Element("figure", {"class": "half"} if half else {})
  source = "data:image/png;base64," + base64.b64encode(content).decode()
  image = SubElement(figure, "img", src=source, alt=f"Picture: {caption}")
  width, height = struct.unpack(">II", content[16:24])
  if width > 2 * height and not whole:
    image.set("class", "broad")
  figure.append(_words("figcaption", caption))
  return figure


def png(figure: Figure) -> bytes:
  """The figure as a PNG file."""
  content = BytesIO()
  FigureCanvasAgg(figure).print_figure(content, format="png", dpi=110, bbox_inches="tight")
  return content.getvalue()


def _words(tag: str, text: str, **attributes: str) -> Element:
  element = Element(tag, attributes)
  element.text = text
  return element
