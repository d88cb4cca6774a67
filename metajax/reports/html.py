"""The report of a run: one HTML file that holds everything, pictures too, opens anywhere, and loads nothing."""

import base64
from importlib import metadata
import json
import os
from pathlib import Path
import platform
import struct
from typing import Any, Iterator, Mapping, Sequence
from xml.etree import ElementTree

import jax
import numpy as np

from metajax.reports.writers import read_csv

FILE = 'report.html'
_PACKAGES = ('metajax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
_STYLE = '''
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 0 auto;
       padding: 1rem }
h1, h2 { line-height: 1.2; margin: 2rem 0 .5rem; overflow-wrap: anywhere }
.wide, figure { overflow-x: auto }
table { border-collapse: collapse }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #ccc }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; min-width: 4rem }
td:first-child { white-space: nowrap }
figure { margin: 1rem 0 }
img { max-width: 100%; height: auto }
figcaption { color: #555 }
.broad { min-width: 40rem }
'''


def write(workdir: str | os.PathLike[str]) -> Path:
  """Writes `report.html` from what else a run left in its workdir, whole or not at all; returns its path.

  It holds the settings (`run.json`, if the run has one), the results of every test (`test*.json`), the last measured
  metrics (`metrics.csv`), every picture (`*.png`, the curves first), and the environment.

  Raises FileNotFoundError if there are no metrics yet, and ValueError if a file is not of its format.
  """
  workdir = Path(workdir)
  tests = {path.stem: json.loads(path.read_text(encoding='utf-8')) for path in sorted(workdir.glob('test*.json'))}
  about = workdir / 'run.json'
  run = json.loads(about.read_text(encoding='utf-8')) if about.exists() else {}
  pictures = sorted(workdir.glob('*.png'), key=lambda path: (path.stem != 'curves', path.name))
  text = render(workdir.resolve().name, run, tests, read_csv(workdir / 'metrics.csv'),
                {path.stem: path.read_bytes() for path in pictures}, environment())
  partial = workdir / (FILE + '.tmp')
  partial.write_text(text, encoding='utf-8')
  os.replace(partial, workdir / FILE)
  return workdir / FILE


def render(title: str, run: Mapping[str, Any], tests: Mapping[str, Mapping[str, Any]],
           metrics: Mapping[str, np.ndarray], pictures: Mapping[str, bytes], about: Mapping[str, str]) -> str:
  """Returns the report as HTML.

  title: its heading
  run: `recipe` and `config`, nested; may be empty
  tests: by name, each with `episodes`, `test_seed`, `notes` and `results`, as `recipe.test` writes them
  metrics: columns [rows], as of `writers.read_csv`
  pictures: PNG files, by what is said below them
  about: the environment
  """
  page = ElementTree.Element('html', lang='en')
  head = ElementTree.SubElement(page, 'head')
  ElementTree.SubElement(head, 'meta', charset='utf-8')
  ElementTree.SubElement(head, 'meta', name='viewport', content='width=device-width, initial-scale=1')
  _add(head, 'title', f'{title}: a run of metajax')
  _add(head, 'style', _STYLE)
  body = ElementTree.SubElement(page, 'body')
  _add(body, 'h1', title)
  for name, test in tests.items():
    _add(body, 'h2', 'Test' if name == 'test' else f'Test, {name}')
    _add(body, 'p', f'{test["notes"]} {test["episodes"]} episodes, list {test["test_seed"]}.')
    _table(body, ('measure', 'mean', '95 % interval'), [
        (measure, f'{result["mean"]:.4f}', f'± {result["interval_95"]:.4f}')
        for measure, result in test['results'].items()])
  for name, content in pictures.items():
    figure = ElementTree.SubElement(body, 'figure')
    caption = name.replace('_', ' ')
    source = 'data:image/png;base64,' + base64.b64encode(content).decode()
    image = ElementTree.SubElement(figure, 'img', src=source, alt=f'Picture: {caption}')
    width, height = struct.unpack('>II', content[16:24])
    if width > 2 * height:  # a row of panels, which would be too small to read on a telephone: it is scrolled instead
      image.set('class', 'broad')
    _add(figure, 'figcaption', caption)
  _add(body, 'h2', 'Last measured in training')
  _table(body, ('metric', 'value', 'at step'), list(_last(metrics)))
  _add(body, 'h2', 'Settings')
  if run:
    _table(body, ('field', 'value'), [('recipe', run['recipe']), *_flat(run['config'], 'config.')])
  else:
    _add(body, 'p', 'This run was started from Python, not from a recipe file, and has no record of its settings.')
  _add(body, 'h2', 'Environment')
  _table(body, ('what', 'which'), list(about.items()))
  return '<!DOCTYPE html>\n' + ElementTree.tostring(page, encoding='unicode', method='html') + '\n'


def environment() -> dict[str, str]:
  """Returns what a result may depend on: machine, devices, Python and the packages that compute."""
  found = {'machine': f'{platform.machine()}, {os.cpu_count()} cores, {platform.system()}',
           'devices': f'{jax.device_count()} of kind {jax.devices()[0].device_kind}, backend {jax.default_backend()}',
           'python': platform.python_version()}
  for package in _PACKAGES:
    try:
      found[package] = metadata.version(package)
    except metadata.PackageNotFoundError:  # a checkout that was never installed
      continue
  return found


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
  ElementTree.SubElement(parent, tag).text = text


def _table(parent: ElementTree.Element, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
  table = ElementTree.SubElement(ElementTree.SubElement(parent, 'div', {'class': 'wide'}), 'table')
  header = ElementTree.SubElement(ElementTree.SubElement(table, 'thead'), 'tr')
  for name in names:
    ElementTree.SubElement(header, 'th', scope='col').text = name
  content = ElementTree.SubElement(table, 'tbody')
  for row in rows:
    line = ElementTree.SubElement(content, 'tr')
    for cell in row:
      _add(line, 'td', cell)


def _last(metrics: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, str]]:
  for name, values in metrics.items():
    measured, = np.nonzero(np.isfinite(values))
    if name != 'step' and len(measured):
      yield name, f'{values[measured[-1]]:.4g}', str(metrics['step'][measured[-1]])


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
  for name, value in config.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f'{prefix}{name}.')
    else:
      yield prefix + name, str(value)
