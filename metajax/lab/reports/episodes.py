"""Figures of single episodes: a regression fit before and after adaptation, and images with their predictions."""

from typing import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
import numpy as np

from metajax.lab.reports.figures import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, new_figure, style

_MAX_TASKS = 4
_CELL = 0.8  # inches: an image with its margins
_CAPTION = 0.36  # cells: the text below a query
_MAX_COLUMNS = 10  # of queries; further queries go into more rows
_GAP = 0.08  # cells: between an image and the edge of its cell


def regression_fit(support_x: np.ndarray, support_y: np.ndarray, grid_x: np.ndarray, true_y: np.ndarray,
                   before_y: np.ndarray, after_y: np.ndarray, labels: Sequence[str]) -> Figure:
  """The fit to up to four tasks before and after adaptation, for one or more numbers of inner steps.

  support_x, support_y: [tasks, N]
  grid_x, true_y, before_y: [tasks, G], grid_x in increasing order
  after_y: [tasks, S, G]
  labels: [S], the label of each curve of `after_y`, such as "after 1 step"

  Raises ValueError for more than four tasks, or if shapes disagree.
  """
  tasks, size = np.shape(grid_x)
  if not 1 <= tasks <= _MAX_TASKS:
    raise ValueError(f"a figure of regression fits holds 1 to {_MAX_TASKS} tasks, not {tasks}.")
  if (np.shape(true_y) != (tasks, size) or np.shape(before_y) != (tasks, size) or len(support_x) != tasks
      or np.shape(support_x) != np.shape(support_y) or np.shape(after_y) != (tasks, len(labels), size)):
    raise ValueError("the arrays of a regression fit disagree on their tasks, grid points or labels.")
  figure = new_figure(3.1 * tasks + 0.4, 3.3)
  panels = figure.subplots(1, tasks, squeeze=False, sharey=True)[0]
  colours = _blues(len(labels))
  for task, axes in enumerate(panels):
    style(axes, f"Task {task + 1}", "input x", "target y" if task == 0 else "")
    axes.plot(grid_x[task], true_y[task], color=GREY, linewidth=3.5, alpha=0.45, label="true function")
    axes.plot(grid_x[task], before_y[task], color=ORANGE, linestyle="--", linewidth=1.4, label="before adaptation")
    for label, colour, curve in zip(labels, colours, after_y[task]):
      axes.plot(grid_x[task], curve, color=colour, linewidth=1.6, label=label)
    axes.plot(support_x[task], support_y[task], "o", color=BLACK, markersize=4.5, label="support", zorder=4)
  handles, words = panels[0].get_legend_handles_labels()
  columns = len(words) if tasks > 1 else 2
  figure.legend(handles, words, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
  return figure


def image_episode(support_images: np.ndarray, support_labels: np.ndarray, query_images: np.ndarray,
                  query_labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str] = ()) -> Figure:
  """One image classification task: left, its support set, one row per class; right, its queries with predictions.

  support_images: [N, H, W, ch], uint8, or reals of any range; other channels than 1 or 3 are drawn as their mean
  support_labels: [N] integers in [0, C)
  query_images:   [Q, H, W, ch]
  query_labels:   [Q] integers in [0, C)
  probabilities:  [Q, C], rows that sum to 1
  names:          of classes 0, 1, ..., C - 1; by default their numbers

  Raises ValueError if a set is empty or shapes disagree.
  """
  classes = np.shape(probabilities)[-1]
  if (min(len(support_images), len(query_images)) < 1 or len(support_images) != len(support_labels)
      or len(query_images) != len(query_labels) or np.shape(probabilities) != (len(query_images), classes)):
    raise ValueError("an image episode needs support and query images, each with a label, and one row of "
                     "probabilities per query.")
  if support_images.shape[1:] != query_images.shape[1:] or support_images.ndim != 4:
    raise ValueError(f"images must all be [H, W, channels], of one shape, not {support_images.shape[1:]} and "
                     f"{query_images.shape[1:]}.")
  if names and len(names) != classes:
    raise ValueError(f"each of the {classes} classes must have a name, but there are {len(names)}.")
  support, query = _displayable(support_images, query_images)

  shots = max(np.bincount(support_labels, minlength=classes))
  rows = max(1, int(classes / (1 + _CAPTION)))  # as many as fit beside the support
  columns = min(-(-len(query) // rows), _MAX_COLUMNS)
  rows = -(-len(query) // columns)
  height = max(classes, rows * (1 + _CAPTION))
  # Wide enough that the height determines the scale, which is then the same on both sides.
  figure = new_figure(_CELL * (shots + columns) + 1.8, _CELL * height + 0.8)
  left, right = figure.subplots(1, 2, width_ratios=[shots, columns])
  rows_named = [_cut(name, 14) for name in names] or [f"class {number}" for number in range(classes)]
  queries_named = [_cut(name, 9) for name in names] or [str(number) for number in range(classes)]
  _draw_support(left, support, support_labels, rows_named, shots, height)
  _draw_query(right, query, query_labels, probabilities, queries_named, columns, height)

  frames = [Patch(fill=False, edgecolor=GREEN, linewidth=2, label="correct"),
            Patch(fill=False, edgecolor=VERMILION, linewidth=2, linestyle=(0, (2, 1)), label="wrong")]
  figure.legend(handles=frames, loc="outside lower right", ncols=2, fontsize=8, frameon=False)
  return figure


def _cut(name: str, most: int) -> str:
  """A name of at most so many letters, without its middle."""
  return name if len(name) <= most else f"{name[:most // 2 - 1]}…{name[-(most - most // 2):]}"


def _blues(count: int) -> list[tuple[float, ...]]:
  """Shades from light to dark, for an increasing number of steps."""
  ends = [np.array([int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]) for colour in (SKY, BLUE)]
  dark = 0.55 * ends[1]
  stops = [ends[1]] if count == 1 else [ends[0] + (dark - ends[0]) * i / (count - 1) for i in range(count)]
  return [tuple(stop) for stop in stops]


def _displayable(support: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Both sets as RGB in [0, 1] on a common scale, so that they can be compared visually."""
  if support.dtype == np.uint8:
    low, high = 0.0, 255.0
  else:
    low, high = min(support.min(), query.min(), 0.0), max(support.max(), query.max(), 1.0)
  scaled = [(np.asarray(images, np.float64) - low) / (high - low) for images in (support, query)]
  grey = [images if images.shape[-1] == 3 else images.mean(axis=-1, keepdims=True) for images in scaled]
  return np.broadcast_to(grey[0], (*support.shape[:3], 3)), np.broadcast_to(grey[1], (*query.shape[:3], 3))


def _draw_support(axes: Axes, images: np.ndarray, labels: np.ndarray, names: Sequence[str], shots: int,
                  height: float) -> None:
  _mosaic(axes, "Support", shots, height)
  for number, name in enumerate(names):
    axes.text(-0.12, number + 0.5, name, ha="right", va="center", fontsize=8)
    for shot, image in enumerate(images[np.asarray(labels) == number]):
      _draw_image(axes, image, shot, number)


def _draw_query(axes: Axes, images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str],
                columns: int, height: float) -> None:
  predicted = np.argmax(probabilities, axis=-1)
  accuracy = np.mean(predicted == labels)
  _mosaic(axes, f"Queries, {accuracy:.0%} correct", columns, height)
  for i, (image, label, guess) in enumerate(zip(images, labels, predicted)):
    x, y = i % columns, (i // columns) * (1 + _CAPTION)
    _draw_image(axes, image, x, y)
    correct = guess == label
    axes.add_patch(Rectangle((x + _GAP, y + _GAP), 1 - 2 * _GAP, 1 - 2 * _GAP, fill=False, linewidth=2,
                             edgecolor=GREEN if correct else VERMILION, linestyle="-" if correct else (0, (2, 1))))
    text = f"{names[guess]}: {probabilities[i, guess]:.0%}" + ("" if correct else f"\ntrue {names[label]}")
    axes.text(x + 0.5, y + 1.0, text, ha="center", va="top", fontsize=7, linespacing=1.05,
              color=BLACK if correct else VERMILION)


def _mosaic(axes: Axes, title: str, width: float, height: float) -> None:
  axes.set_title(title, fontsize=11, loc="left")
  axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", anchor="NW")
  axes.axis("off")


def _draw_image(axes: Axes, image: np.ndarray, x: float, y: float) -> None:
  axes.imshow(image, extent=(x + _GAP, x + 1 - _GAP, y + 1 - _GAP, y + _GAP), interpolation="nearest", aspect="equal")
