"""Figures: their panels, their contents and the numbers behind the map of models."""

import subprocess
import sys

from PIL import Image
from matplotlib.colors import to_hex
import numpy as np
import pytest

from metajax.lab.reports.episodes import image_episode, regression_fit
from metajax.lab.reports.figures import GREEN, VERMILION, in_context_errors, learning_curves, save
from metajax.lab.reports.maps import project, silhouette, task_map


def _saved(figure, tmp_path):
  """The figure as pixels [H, W, 3], after a save that must leave nothing else behind."""
  save(figure, tmp_path / "figures" / "figure.png")
  assert [file.name for file in (tmp_path / "figures").iterdir()] == ["figure.png"]
  with Image.open(tmp_path / "figures" / "figure.png") as image:
    assert image.format == "PNG" and round(image.info["dpi"][0]) == 150
    pixels = np.asarray(image.convert("RGB"))
  assert min(pixels.shape[:2]) > 200 and pixels.std() > 5
  return pixels


def _curves(rows=100):
  steps = np.arange(rows)
  sparse = np.where(steps % 20 == 0, 0.5, np.nan)
  return {"step": steps, "loss": 2.0 - steps / rows, "episodic_loss": 1.5 - steps / rows, "accuracy": steps / rows,
          "val_accuracy": sparse, "d_in": np.full(rows, 0.5), "d_out": np.full(rows, 1.0), "contrastive_loss": -sparse}


def test_learning_curves_draw_every_panel(tmp_path):
  figure = learning_curves(_curves())
  assert [axes.get_title("left") for axes in figure.axes] == ["Loss", "Accuracy", "Distances between models"]
  loss, accuracy, distance = figure.axes
  assert [text.get_text() for text in loss.get_legend().get_texts()] == ["total", "episodic"]
  assert len(accuracy.lines) == 3  # raw, smoothed, and the few validation points
  np.testing.assert_array_equal(accuracy.lines[2].get_xdata(), [0, 20, 40, 60, 80])
  np.testing.assert_array_equal(accuracy.lines[2].get_ydata(), [50] * 5)
  assert distance.get_yscale() == "linear"
  _saved(figure, tmp_path)


def test_learning_curves_leave_out_panels_without_data(tmp_path):
  figure = learning_curves({"step": np.arange(3), "loss": np.array([3.0, np.nan, np.inf]), "d_in": np.full(3, np.nan),
                            "mse": np.array([1.0, 2.0, 3.0])})
  assert [axes.get_title("left") for axes in figure.axes] == ["Loss", "Squared error"]
  _saved(figure, tmp_path)
  with pytest.raises(ValueError, match="is a learning curve"):
    learning_curves({"step": np.arange(3), "d_in": np.full(3, np.nan)})
  with pytest.raises(ValueError, match='"step"'):
    learning_curves({"loss": np.arange(3)})


def test_wide_ranges_are_logarithmic_unless_zero_is_reached(tmp_path):
  curves = {**_curves(), "d_in": np.geomspace(1e-3, 1, 100)}
  figure = learning_curves(curves)
  assert figure.axes[2].get_yscale() == "log"
  _saved(figure, tmp_path)
  assert learning_curves({**curves, "d_in": np.zeros(100)}).axes[2].get_yscale() == "linear"


def test_smoothing_keeps_level_and_trend():
  curves = _curves(500)
  curves["d_in"] = 1.0 + 0.3 * np.random.default_rng(0).normal(size=500)
  figure = learning_curves(curves)
  smooth = figure.axes[2].lines[1].get_ydata()
  assert abs(smooth.mean() - 1.0) < 0.03 and smooth.std() < 0.12
  np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata()[50:-50], curves["loss"][50:-50])
  np.testing.assert_allclose(figure.axes[2].lines[3].get_ydata(), 1.0)  # no sag at the ends


def _regression(tasks):
  grid = np.tile(np.linspace(-5, 5, 50), (tasks, 1))
  after = np.stack([0.5 * np.sin(grid), np.sin(grid)], axis=1)
  return np.zeros((tasks, 5)), np.zeros((tasks, 5)), grid, np.sin(grid), 0 * grid, after


@pytest.mark.parametrize("tasks", [1, 4])
def test_regression_fit_has_a_panel_a_task(tmp_path, tasks):
  figure = regression_fit(*_regression(tasks), ["after 1 step", "after 10 steps"])
  assert len(figure.axes) == tasks
  labels = [text.get_text() for text in figure.legends[0].get_texts()]
  assert labels == ["true function", "before adaptation", "after 1 step", "after 10 steps", "support"]
  np.testing.assert_array_equal(figure.axes[-1].lines[3].get_ydata(), _regression(1)[3][0])
  _saved(figure, tmp_path)


def test_regression_fit_refuses_misfits():
  with pytest.raises(ValueError, match="1 to 4 tasks, not 5"):
    regression_fit(*_regression(5), ["after"] * 2)
  with pytest.raises(ValueError, match="disagree"):
    regression_fit(*_regression(2), ["after"] * 3)


def _episode(ways, shots, queries, channels, dtype=np.float32):
  generator = np.random.default_rng(0)
  support, query = (np.asarray(200 * generator.uniform(size=(n, 14, 14, channels)), dtype)
                    for n in (ways * shots, queries))
  labels = np.arange(queries) % ways
  return support, np.arange(ways * shots) % ways, query, labels, 0.8 * np.eye(ways)[labels] + 0.2 / ways


@pytest.mark.parametrize("ways, shots, queries, channels", [(5, 1, 10, 1), (5, 5, 15, 3), (2, 1, 1, 1)])
def test_image_episode_shows_all_images(tmp_path, ways, shots, queries, channels):
  figure = image_episode(*_episode(ways, shots, queries, channels))
  left, right = figure.axes
  assert len(left.images) == ways * shots and len(right.images) == len(right.patches) == queries
  assert [text.get_text() for text in left.texts] == [f"class {i}" for i in range(ways)]
  _saved(figure, tmp_path)


def test_image_episode_distinguishes_right_from_wrong(tmp_path):
  *sets, labels, probabilities = _episode(5, 1, 4, 3, np.uint8)
  probabilities = np.where(np.arange(4)[:, None] == 2, np.array([0.9, 0.1, 0, 0, 0]), probabilities)
  figure = image_episode(*sets, labels, probabilities)
  right = figure.axes[1]
  assert right.get_title("left") == "Queries, 75% correct"
  assert [text.get_text() for text in right.texts] == ["0: 84%", "1: 84%", "0: 90%\ntrue 2", "3: 84%"]
  assert [to_hex(patch.get_edgecolor()).upper() for patch in right.patches] == [GREEN, GREEN, VERMILION, GREEN]
  assert [patch.get_linestyle() == "solid" or patch.get_linestyle() == "-" for patch in right.patches] == [
    True, True, False, True]
  top_down = sorted(figure.axes[0].images, key=lambda image: image.get_extent()[3])
  np.testing.assert_allclose(np.stack([image.get_array() for image in top_down]), sets[0] / 255, atol=1e-12)
  shown = np.asarray(right.images[1].get_array())
  np.testing.assert_allclose(shown, sets[2][1] / 255, atol=1e-12)
  _saved(figure, tmp_path)


def test_image_episode_refuses_misfits():
  support, support_labels, query, labels, probabilities = _episode(5, 1, 4, 1)
  with pytest.raises(ValueError, match="one row of probabilities per query"):
    image_episode(support, support_labels, query, labels, probabilities[:2])
  with pytest.raises(ValueError, match=r"of one shape, not \(14, 14, 1\) and \(14, 14, 3\)"):
    image_episode(support, support_labels, np.repeat(query, 3, axis=-1), labels, probabilities)
  with pytest.raises(ValueError, match="each of the 5 classes must have a name, but there are 2"):
    image_episode(support, support_labels, query, labels, probabilities, ["a", "b"])


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_image_episode_draws_the_mean_of_other_channels(tmp_path, channels):
  support, *rest = _episode(2, 1, 3, channels, np.uint8)
  figure = image_episode(support, *rest)
  shown = np.asarray(figure.axes[0].images[0].get_array())
  np.testing.assert_allclose(shown, np.repeat(support[0].mean(-1, keepdims=True) / 255, 3, axis=-1), atol=1e-12)
  _saved(figure, tmp_path)


def test_image_episode_calls_classes_by_their_names(tmp_path):
  figure = image_episode(*_episode(3, 1, 3, 1), ["wren", "a house sparrow of Kent", "n0153282"])
  left, right = figure.axes
  assert [text.get_text() for text in left.texts] == ["wren", "a hous…of Kent", "n0153282"]
  assert [text.get_text() for text in right.texts] == ["wren: 87%", "a h… Kent: 87%", "n0153282: 87%"]
  _saved(figure, tmp_path)


@pytest.mark.parametrize("with_full", [True, False])
def test_task_map_distinguishes_tasks_by_colour_and_marker(tmp_path, with_full):
  points = np.random.default_rng(0).normal(size=(10, 6, 2))
  figure = task_map(points, points.mean(1) if with_full else None, "Models", score=0.4567)
  axes, = figure.axes
  clouds = [part for part in axes.collections if len(part.get_offsets()) == 6]
  assert len(axes.collections) - len(clouds) == (10 if with_full else 0)
  assert len({to_hex(cloud.get_facecolor()[0]) for cloud in clouds}) == 10
  assert len({cloud.get_paths()[0].vertices.tobytes() for cloud in clouds}) == 10
  np.testing.assert_array_equal(clouds[3].get_offsets(), points[3])
  assert figure.get_supxlabel().endswith("0.46")
  _saved(figure, tmp_path)


def test_task_map_refuses_misfits():
  with pytest.raises(ValueError, match="points"):
    task_map(np.zeros((2, 3)), None, "")
  with pytest.raises(ValueError, match="full-data"):
    task_map(np.zeros((2, 3, 2)), np.zeros((3, 2)), "")


def _distances(points):
  return np.linalg.norm(points[:, None] - points, axis=-1)


@pytest.mark.parametrize("size", [2, 5, 1000])  # the last by the Gram matrix
def test_projection_keeps_distances_of_what_is_flat(size):
  generator = np.random.default_rng(1)
  flat = generator.normal(size=(4, 6, 2)) * [3.0, 1.0] + 50
  plane = np.linalg.qr(generator.normal(size=(size, 2)))[0]
  points = project(flat @ plane.T)
  assert points.shape == (4, 6, 2)
  np.testing.assert_allclose(_distances(points.reshape(-1, 2)), _distances(flat.reshape(-1, 2)), atol=1e-6)
  assert points[..., 0].std() > points[..., 1].std()


def test_projection_separates_clusters():
  generator = np.random.default_rng(2)
  centres = 20 * np.eye(3, 400)[:, None]
  points = project(centres + 0.1 * generator.normal(size=(3, 8, 400)))
  assert silhouette(points.reshape(-1, 2), np.repeat(np.arange(3), 8)) > 0.95


def test_projection_of_very_little():
  assert project(np.zeros((1, 1, 3))).shape == (1, 1, 2)
  np.testing.assert_allclose(project(np.array([[[1.0], [3.0], [9.0]]]))[0, :, 1], 0)
  with pytest.raises(ValueError, match=r"\[tasks, models, D\]"):
    project(np.zeros((4, 2)))


@pytest.mark.parametrize("noise", [0.1, 1.0, 10.0])
def test_silhouette_equals_that_of_scikit_learn(noise):
  metrics = pytest.importorskip("sklearn.metrics")
  generator = np.random.default_rng(3)
  labels = np.array([7] + [0] * 5 + [1] * 9 + [2] * 4)  # a task of a single model, and uneven ones
  models = 100 + generator.normal(size=(8, 6))[labels] + noise * generator.normal(size=(len(labels), 6))
  models[3] = models[2]
  assert silhouette(models, labels) == pytest.approx(metrics.silhouette_score(models, labels), abs=1e-9)


def test_silhouette_of_equal_models_is_zero():
  assert silhouette(np.ones((4, 3)), np.array([0, 0, 1, 1])) == 0.0
  for labels in ([0, 0, 0, 0], [0, 1, 2, 3]):
    with pytest.raises(ValueError, match="2 to n - 1 tasks"):
      silhouette(np.ones((4, 3)), np.array(labels))
  with pytest.raises(ValueError, match="do not fit"):
    silhouette(np.ones((4, 3)), np.array([0, 1]))


def test_figures_need_no_pyplot():
  code = ("import sys; import metajax.lab.reports.episodes, metajax.lab.reports.maps, metajax.lab.reports.writers, "
          'metajax.lab.reports.progress; sys.exit("matplotlib.pyplot" in sys.modules)')
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_in_context_errors():
  curves = {"transformer": np.array([4.0, 2.0, 0.5]), "least_squares": np.array([4.0, 1.0, 1e-30])}
  axes = in_context_errors(curves, "Linear functions").axes[0]
  assert [line.get_label() for line in axes.lines] == ["transformer", "least squares"]
  assert axes.get_yscale() == "log" and axes.get_ylim()[0] > 1e-5
  with pytest.raises(ValueError, match="one length"):
    in_context_errors({"a": np.ones(3), "b": np.ones(4)}, "x")
