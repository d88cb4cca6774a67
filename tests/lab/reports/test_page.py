"""Pages: their elements, and that they are self-contained."""

from html.parser import HTMLParser
import re

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
  one = page.picture(page.png(Figure(figsize=(6, 1))), "x", whole=True)
  assert one.find("img").get("class") is None
  assert page.picture(page.png(Figure(figsize=(2, 2))), "x", half=True).get("class") == "half"


def test_a_page_is_made_for_phones_and_for_the_dark():
  text = page.page("A", [])
  assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
  style = text.split("<style>")[1].split("</style>")[0]
  assert all(float(size) >= 1 for size in re.findall(r"(?:font|font-size): ([.\d]+)", style)), "16 px are 1 rem"
  assert "img { max-width: 100%" in style and ".wide, figure { overflow-x: auto }" in style
  dark, = re.findall(r"@media \(prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}", style)
  light = style.split(":root {")[1].split("}")[0]
  assert re.findall(r"--\w+", dark) == re.findall(r"--\w+", light)  # every colour has its dark form
  assert style.count("#") == 2 * 5 + 1, "colours are those above, and the white behind pictures"


@pytest.mark.parametrize("cell, kept", [("(7.03 ± 0.91)e-05", True), ("-0.5 ± 0.1", True), ("± 3", True), ("0 %", True),
                                        ("1.00 (1.5 ms)", True), ("(40, 40)", False), ("loss", False), ("", False),
                                        ("7" + "0" * 60, False)])
def test_a_number_is_not_broken_into_lines(cell, kept):
  data, = page.table(["a"], [[cell]]).iter("td")
  assert (data.get("class") == "number") == kept
