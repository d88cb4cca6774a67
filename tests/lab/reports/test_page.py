"""Pages: their elements, and that they are self-contained."""

from html.parser import HTMLParser

from matplotlib.figure import Figure
import pytest

from metajax.lab.reports import page


class _Strict(HTMLParser):
  """Checks that tags close in order, and collects the contents and all external references."""

  def __init__(self):
    super().__init__()
    self.open, self.seen, self.text, self.sources = [], [], "", []

  def handle_starttag(self, tag, attributes):
    self.seen.append(tag)
    self.sources += [value for name, value in attributes if name in ("src", "href")]
    if tag not in ("meta", "img"):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data


def read(text):
  parser = _Strict()
  parser.feed(text)
  assert not parser.open
  return parser


def test_a_page_needs_nothing_else():
  figure = Figure()
  figure.subplots().plot([1, 2])
  found = read(page.page("A & B <script>", [
      page.heading("<b>"), page.paragraph("x < y"), page.listing(["1 > 0"]), page.preformatted('{"a": 1}'),
      page.table(["a", "<c>"], [["1", "2"]]), page.picture(page.png(figure), 'it "is"')]))
  assert "script" not in found.seen and "b" not in found.seen and "c" not in found.seen
  assert "x < y" in found.text and "<b>" in found.text and "A & B <script>" in found.text
  assert len(found.sources) == 1 and found.sources[0].startswith("data:image/png;base64,")
  with pytest.raises(ValueError, match="2 cells"):
    page.table(["a", "b"], [["1"]])


def test_a_row_of_panels_is_scrolled():
  wide, narrow = (page.picture(page.png(Figure(figsize=size)), "x") for size in ((6, 1), (2, 2)))
  assert wide.find("img").get("class") == "broad" and narrow.find("img").get("class") is None
  assert page.picture(page.png(Figure(figsize=(2, 2))), "x", half=True).get("class") == "half"
