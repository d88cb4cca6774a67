"""The documentation site: Markdown pages by MyST, docstrings by autodoc, the look of furo.

  python -m sphinx -W --keep-going -b html docs docs/_build
"""

from importlib import metadata
import re

project = "metajax"
author = "The metajax authors"
copyright = f"2026, {author}"
release = metadata.version("metajax")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx.ext.apidoc"]
html_theme = "furo"
html_title = f"metajax {release}"
exclude_patterns = ["_build", "results", "notebooks/*.ipynb"]
myst_heading_anchors = 3

# A page for every package, written as the site is built, so that no module can be forgotten.
apidoc_modules = [{"path": "../metajax", "destination": "api", "module_first": True,
                   "automodule_options": {"members"}}]
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give shapes, which the types do not
default_role = "literal"  # single backticks are code, as in the docstrings
napoleon_use_rtype = False
napoleon_use_ivar = True


def plain(app, what, name, obj, options, lines):
  """Makes of a docstring, which is written to be read in a terminal, what reStructuredText shows the same.

  Stars and bars are no markup outside of backticks; a paragraph of aligned lines keeps its lines.
  """
  del app, what, name, obj, options
  paragraph: list[str] = []
  result: list[str] = []
  for line in [*lines, ""]:
    if line.strip():
      paragraph.append(line)
      continue
    indented = all(each.startswith("  ") for each in paragraph)
    aligned = indented and any(re.search(r"\S {2,}\S", each) for each in paragraph)
    # `name: what it is` lines that belong together, such as the fields of a NamedTuple.
    listed = len(paragraph) > 1 and all(re.match(r"\w+:? {2,}|\w+: |  ", each) for each in paragraph)
    if paragraph and paragraph[0].lstrip().startswith(">>> "):  # an example: code, shown as it is
      result += paragraph
    elif paragraph and (aligned or listed):
      result += ["::", "", *(f"    {each}" for each in paragraph)]
    else:
      result += [_escaped(each) for each in paragraph]
    result.append("")
    paragraph = []
  lines[:] = result


def _escaped(line):
  parts = re.split(r"(`[^`]*`)", line)
  return "".join(part if part.startswith("`") else re.sub(r"([*|]|(?<=\w)_\b)", r"\\\1", part) for part in parts)


def to_repository(app, docname, source):
  """Makes links out of the site, to code or README.md, which are read on GitHub as well, lead there from here, too."""
  del app, docname
  source[0] = re.sub(r"\]\(\.\./([^)]+)\)", r"](https://github.com/metajax/metajax/tree/main/\1)", source[0])


def setup(app):
  """Connects `plain`, before napoleon reads the docstring, and `to_repository`."""
  app.connect("autodoc-process-docstring", plain, priority=100)
  app.connect("source-read", to_repository)
