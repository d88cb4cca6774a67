"""A report as one HTML file that needs nothing else: no server, no script, pictures within."""

import base64
from html import escape
from io import BytesIO
from typing import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 0.86rem; margin: 0.8rem 0; }
th, td { text-align: left; padding: 0.28rem 0.8rem 0.28rem 0; border-bottom: 1px solid #eee; vertical-align: top; }
th { border-bottom: 2px solid #bbb; }
.wide { overflow-x: auto; }
figure { display: inline-block; margin: 0.6rem 0.8rem 0.6rem 0; vertical-align: top; }
.half { width: 46%; min-width: 20rem; }
figure img { max-width: 100%; height: auto; } figcaption { font-size: 0.82rem; color: #555; max-width: 46rem; }
pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 0.8rem; }
"""


def page(title: str, parts: Sequence[str]) -> str:
  """Returns the whole file; the parts are what the functions below return."""
  return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
          f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
          f'<style>{_STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n' + '\n'.join(parts)
          + '\n</body></html>\n')


def heading(text: str) -> str:
  """Returns a heading of words."""
  return f'<h2>{escape(text)}</h2>'


def paragraph(text: str) -> str:
  """Returns a paragraph of words."""
  return f'<p>{escape(text)}</p>'


def listing(sentences: Sequence[str]) -> str:
  """Returns a list of sentences."""
  return '<ul>' + ''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences) + '</ul>'


def preformatted(text: str) -> str:
  """Returns words with their spaces and line ends kept."""
  return f'<pre>{escape(text)}</pre>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table; raises ValueError if a row is not as long as the header."""
  if any(len(row) != len(header) for row in rows):
    raise ValueError(f'every row of a table needs {len(header)} cells, one for each column.')
  line = lambda cells, tag: '<tr>' + ''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells) + '</tr>'
  return ('<div class="wide"><table><thead>' + line(header, 'th') + '</thead><tbody>'
          + ''.join(line(row, 'td') for row in rows) + '</tbody></table></div>')


def picture(figure: Figure, caption: str, half: bool = False) -> str:
  """The figure, as a PNG within the page, above its caption, which is also what is read where it cannot be seen.

  half: two of them stand side by side
  """
  content = BytesIO()
  FigureCanvasAgg(figure).print_figure(content, format='png', dpi=110, bbox_inches='tight')
  data = base64.b64encode(content.getvalue()).decode('ascii')
  return (f'<figure{" class=half" if half else ""}><img src="data:image/png;base64,{data}" alt="{escape(caption)}">'
          f'<figcaption>{escape(caption)}</figcaption></figure>')
