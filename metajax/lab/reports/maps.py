"""The map of task models: models learned from subsets of several tasks, in two dimensions, and their silhouette."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np

from metajax.lab.reports.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, new_figure, style

# Ten tasks differ by colour and by marker; the last two colours are from Paul Tol's palettes.
_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, BLACK, GREY, "#882255", "#999933")
_MARKERS = "osD^vP<X>p"


def project(representations: np.ndarray) -> np.ndarray:
  """The first two principal components of all models: [tasks, models, D] -> [tasks, models, 2].

  To project full-data models too, append them along the axis of models and slice the result. The sign of a component is
  chosen so that its score of largest magnitude is positive. Raises ValueError unless there are three axes.
  """
  if np.ndim(representations) != 3:
    raise ValueError(f"representations must be [tasks, models, D], not {np.shape(representations)}.")
  tasks, models, size = np.shape(representations)
  centred = _centred(np.reshape(representations, (tasks * models, size)))
  if size > len(centred):  # the Gram matrix is smaller than the covariance matrix
    values, vectors = np.linalg.eigh(centred @ centred.T)
    scores = vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0.0))
  else:
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    scores = left * values
  scores = np.pad(scores, ((0, 0), (0, 2)))[:, :2]  # one model or one dimension has fewer than two components
  signs = np.sign(scores[np.argmax(np.abs(scores), axis=0), [0, 1]])
  return (scores * np.where(signs == 0, 1.0, signs)).reshape(tasks, models, 2)


def silhouette(representations: np.ndarray, labels: np.ndarray) -> float:
  """Rousseeuw's mean silhouette, in [-1, 1]: how much closer models are to their own task than to the nearest other.

  representations: [n, D]
  labels: [n], the task of each; the model of a task with a single model counts as 0

  Raises ValueError unless there are at least 2 and at most n - 1 tasks.
  """
  labels = np.asarray(labels)
  names, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
  if np.ndim(representations) != 2 or labels.shape != np.shape(representations)[:1]:
    raise ValueError(f"{np.shape(labels)} labels do not fit representations {np.shape(representations)}.")
  if not 2 <= len(names) < len(labels):
    raise ValueError(f"a silhouette needs 2 to n - 1 tasks, not {len(names)} for {len(labels)} models.")
  centred = _centred(representations)
  squares = np.sum(centred**2, axis=1)
  distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * centred @ centred.T, 0.0))
  np.fill_diagonal(distances, 0.0)
  sums = distances @ np.eye(len(names))[own]  # [n, tasks]
  rows = np.arange(len(labels))
  inner = sums[rows, own] / np.maximum(counts[own] - 1, 1)
  means = sums / counts
  means[rows, own] = np.inf
  outer = means.min(axis=1)
  wider = np.maximum(np.maximum(inner, outer), np.finfo(np.float64).tiny)  # 0 where all distances are 0
  return float(np.mean(np.where(counts[own] > 1, (outer - inner) / wider, 0.0)))


def task_map(points: np.ndarray, full: np.ndarray | None, title: str, score: float | None = None) -> Figure:
  """A scatter plot of models learned from subsets of several tasks; colour and marker show the task.

  points: [tasks, models, 2]
  full: [tasks, 2], the full-data models, drawn as stars, or None
  score: the silhouette before projection, for the caption

  Raises ValueError if shapes disagree.
  """
  if np.ndim(points) != 3 or np.shape(points)[2] != 2:
    raise ValueError(f"the points of a map must be [tasks, models, 2], not {np.shape(points)}.")
  if full is not None and np.shape(full) != (len(points), 2):
    raise ValueError(f"the full-data models of a map must be [{len(points)}, 2], not {np.shape(full)}.")
  figure = new_figure(5.6, 4.4)
  axes = figure.subplots()
  style(axes, title, "first principal component (representation units)",
        "second principal component (representation units)")
  handles = []
  for task, cloud in enumerate(points):
    colour = _COLOURS[task % len(_COLOURS)]
    # The shift gives a different pair of colour and marker beyond ten tasks.
    marker = _MARKERS[(task + task // len(_COLOURS)) % len(_MARKERS)]
    axes.scatter(cloud[:, 0], cloud[:, 1], s=20, color=colour, marker=marker, alpha=0.55, linewidths=0)
    handles.append(Line2D([], [], linestyle="", color=colour, marker=marker, markersize=5, label=f"task {task + 1}"))
    if full is not None:
      axes.scatter(full[task, 0], full[task, 1], s=170, color=colour, marker="*", edgecolors="white", linewidths=1.0,
                   zorder=3)
  if full is not None:
    handles.append(Line2D([], [], linestyle="", color=GREY, marker="*", markersize=10, label="all data"))
  axes.set_aspect("equal", adjustable="datalim")  # keeps distances comparable
  figure.legend(handles=handles, loc="outside right center", fontsize=8, frameon=False)
  if score is not None:
    figure.supxlabel(f"Silhouette of the tasks before projection: {score:.2f}", fontsize=9, color=GREY)
  return figure


def _centred(representations: np.ndarray) -> np.ndarray:
  """Centred at zero in float64, so that small differences of large values are not lost."""
  wide = np.asarray(representations, np.float64)
  return wide - wide.mean(axis=0)
