"""Figures and pages of comparisons."""

from html.parser import HTMLParser

from matplotlib.figure import Figure
import numpy as np
import pytest

from metajax.reports import arms, comparison, page

_RANDOM = np.random.default_rng(0)


def test_differences():
  figure = arms.differences({'in': (0.5, 0.1, np.array([0.4, 0.6])), 'out': (np.nan, np.nan, np.array([np.nan, 1]))},
                            'none', 'loss')
  axes = figure.axes[0]
  assert [label.get_text() for label in axes.get_yticklabels()] == ['in', 'out']
  assert 'none' in axes.get_title('left') and axes.yaxis_inverted()
  np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0.4, 0.6])


def test_distributions():
  wide = {'d_in': np.geomspace(1e-6, 1, 100), 'd_out': np.linspace(1, 2, 50)}
  figure = arms.distributions({'none': wide, 'both': {'d_in': np.full(3, np.nan), 'd_out': np.ones((2, 2))}})
  assert [axes.get_xscale() for axes in figure.axes] == ['log', 'linear']
  assert [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes] == [
      ['none'], ['none', 'both']]
  with pytest.raises(ValueError, match='no positive'):
    arms.distributions({'none': {'d_in': np.zeros(3), 'd_out': np.ones(3)}})


def test_sweep():
  curve = (np.array([1.0, 2.0, 100.0]), np.array([0.1, np.nan, 0.2]))
  gap = (np.array([-1.0, 0.0, np.nan]), np.array([0.1, np.nan, np.nan]))
  figure = arms.sweep([1, 2, 5], {'none': curve, 'both': curve}, {'both': gap}, 'none', 'shots', 'loss',
                      {'least squares': np.array([1, 1e-30, np.nan])})
  left, right = figure.axes
  assert left.get_yscale() == 'log' and left.get_ylim()[0] > 0.1 and right.get_yscale() == 'linear'
  assert [line.get_label() for line in left.lines] == ['none', 'both', 'least squares']
  np.testing.assert_array_equal(left.lines[1].get_xdata(), [1, 2, 5])
  assert right.lines[0].get_label() == 'both' and right.lines[0].get_color() == left.lines[1].get_color()
  np.testing.assert_array_equal(right.lines[0].get_ydata(), gap[0])
  words = arms.sweep(['a', 'b', 'c'], {'none': curve}, {}, 'none', 'kind', 'loss').axes[0]
  assert [label.get_text() for label in words.get_xticklabels()] == ['a', 'b', 'c']
  with pytest.raises(ValueError, match='3 values'):
    arms.sweep([1, 2, 5], {'none': (np.ones(3), np.ones(2))}, {}, 'none', 'shots', 'loss')


def test_trainings():
  step = np.array([1, 2])
  metrics = {'none': {'step': step, 'loss': np.array([[1.0, 3, 5], [2, np.nan, np.nan]])},
             'both': {'step': step, 'loss': np.ones((2, 3)), 'd_in': np.ones((2, 3))}}
  figure = arms.trainings(metrics, {'loss': 'loss', 'd_in': 'within', 'd_out': 'between'})
  assert [axes.get_title('left') for axes in figure.axes] == ['loss', 'within']
  np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [3, 2])
  assert len(figure.axes[1].lines) == 1
  with pytest.raises(ValueError, match='no arm'):
    arms.trainings(metrics, {'d_out': 'between'})


class _Strict(HTMLParser):
  """Checks that tags close in order, and collects what is within and what is asked for from elsewhere."""

  def __init__(self):
    super().__init__()
    self.open, self.seen, self.text, self.sources = [], [], '', []

  def handle_starttag(self, tag, attributes):
    self.seen.append(tag)
    self.sources += [value for name, value in attributes if name in ('src', 'href')]
    if tag not in ('meta', 'img'):
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
  found = read(page.page('A & B <script>', [
      page.heading('<b>'), page.paragraph('x < y'), page.listing(['1 > 0']), page.preformatted('{"a": 1}'),
      page.table(['a', '<c>'], [['1', '2']]), page.picture(figure, 'it "is"')]))
  assert 'script' not in found.seen and 'b' not in found.seen and 'c' not in found.seen
  assert 'x < y' in found.text and '<b>' in found.text and 'A & B <script>' in found.text
  assert len(found.sources) == 1 and found.sources[0].startswith('data:image/png;base64,')
  with pytest.raises(ValueError, match='2 cells'):
    page.table(['a', 'b'], [['1']])


def results(measure='loss', mean=-0.1, p=0.001, others=1):
  """The results of one reference and so many arms alike."""
  test = {'over_seeds': {'mean': 1.0, 'interval': 0.1}, 'over_episodes': {'mean': 1.0, 'interval': 0.2},
          'median': 0.9, 'diverged': 0.25, 'by_seed': [0.9, 1.1]}
  gap = {'over_seeds': {'mean': mean, 'interval': 0.05}, 'p_value': p,
         'over_episodes': {'mean': mean, 'interval': 0.04}, 'seeds': 2}
  costs = {'step_ms': 2.0, 'step_ratio': 1.5, 'memory_mib': 3.0, 'memory_ratio': 2.0, 'diverged_trainings': 0,
           'models': {}}
  arm = lambda own: {'test': {'loss': own, measure: own}, **costs}
  return {'reference': 'none', 'notes': 'Notes.', 'seeds': [0, 1], 'steps': 5, 'sweeps': {},
          'arms': {'none': arm(test), **{f'arm{i}': arm({**test, 'difference': gap}) for i in range(others)}}}


@pytest.mark.parametrize('measure, mean, p, others, said', [
    ('loss', -0.1, 0.001, 1, 'better'), ('loss', 0.1, 0.001, 1, 'worse'), ('accuracy', 0.1, 0.001, 1, 'better'),
    ('accuracy', -0.1, 0.001, 1, 'worse'), ('loss', -0.1, 0.2, 1, 'no difference'),
    ('loss', -0.1, 0.03, 1, 'better'), ('loss', -0.1, 0.03, 3, 'no difference'), ('loss', None, None, 1, 'nothing')])
def test_verdicts(measure, mean, p, others, said):
  sentences = comparison.verdicts(results(measure, mean, p, others))
  assert len(sentences) == others and all(said in sentence for sentence in sentences)


def test_a_report_of_little():
  measured = {'training/step': np.array([1]), 'training/episodic_loss': np.ones((1, 2))}
  drawn = comparison.pictures(results(), {'none': measured, 'arm0': measured})
  assert list(drawn) == ['differences', 'training']
  found = read(comparison.report(results(), drawn))
  assert 'arm0 against none: better' in found.text and '25 %' in found.text and '1 ± 0.1' in found.text
  assert 'Models of unseen tasks' not in found.text and len(found.sources) == 2


def test_columns():
  assert comparison.columns([['a', 'bb'], ['ccc', 'd']]) == 'a    bb\nccc  d'
