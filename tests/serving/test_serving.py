"""A stored model predicts as its learner does, for any number of examples, in the caller's labels and units."""

import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request

from PIL import Image
import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

import metajax
from metajax import learners, losses, networks, serving
from metajax.networks import normalisation
from metajax.objectives.solve import solve
from metajax.types import Episode, Examples
from tests.learners.table import ROWS, start

ROOT = pathlib.Path(__file__).parents[2]


def first(episodes):
  return jax.tree.map(lambda leaf: leaf[0], episodes)


@pytest.mark.parametrize("name", ROWS)
def test_a_stored_learner_predicts_as_the_learner_does(name, tmp_path):
  row = ROWS[name]
  learner, params, episodes = start(row)
  support, query = first(episodes)
  serving.write(tmp_path / "model.zip", learner, params, support, most=20)
  model = metajax.load(tmp_path / "model.zip")
  for count in (len(support.mask), 4):  # the numbers are symbolic
    part = jax.tree.map(lambda leaf: leaf[:count], support)
    features = learner.embed(params, part.inputs, part.mask)
    adapted = learner.adapt(params, part._replace(inputs=features), jax.random.key(0))
    queries = learner.embed(params, query.inputs, query.mask)
    expected = np.asarray(learner.predict(params, adapted, queries, query.mask))
    predictor = model.adapt(np.asarray(part.inputs), np.asarray(part.targets))
    if row.loss is losses.squared_error:
      np.testing.assert_allclose(predictor(np.asarray(query.inputs)), expected, rtol=row.rtol, atol=1e-5)
    else:
      # Labels are numbered in order of appearance, which learners with weights per label notice.
      order = [predictor.labels.index(each) for each in range(expected.shape[1]) if each in predictor.labels]
      if order == list(range(expected.shape[1])):
        np.testing.assert_allclose(predictor.probabilities(np.asarray(query.inputs)), jax.nn.softmax(expected),
                                   rtol=row.rtol, atol=1e-4)


@pytest.fixture(name="images", scope="module")
def _images(tmp_path_factory):
  """A stored ProtoNet on grey images of ink, that compares what is drawn: an untrained network does."""
  network = networks.conv4(filters=8, normalise=normalisation.group(2), weights="shared")
  learner = learners.protonet(network, num_classes=5)
  params = learner.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
  shapes = Examples(*(jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in
                      (((5, 16, 16, 1), jnp.float32), ((5,), jnp.int32), ((5,), bool))))
  path = tmp_path_factory.mktemp("model") / "model.zip"
  serving.write(path, learner, params, shapes, raw=serving.Raw(image=(16, 16, 1), ink=True))
  return path


def drawings(count=6, side=16):
  """Returns drawings of ink 255 in uint8: bars that lie, stand and cross."""
  images = np.zeros((count, side, side, 1), np.uint8)
  for index in range(count):
    at = 4 + index // 3
    if index % 3 != 1:
      images[index, at:at + 3] = 255
    if index % 3 != 0:
      images[index, :, at:at + 3] = 255
  return images, np.asarray(["lying", "standing", "cross"] * (count // 3))


def test_labels_are_the_callers(images):
  pictures, labels = drawings()
  predictor = metajax.load(images).adapt(pictures[:3], labels[:3].tolist())
  assert predictor(pictures).tolist() == labels.tolist()
  assert predictor.labels == ["lying", "standing", "cross"]
  shares = predictor.probabilities(pictures)
  np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
  assert shares.shape == (6, 3) and (shares.argmax(axis=1) == [0, 1, 2] * 2).all()


def test_one_query_is_a_row_of_many(images):
  pictures, labels = drawings()
  predictor = metajax.load(images).adapt(pictures[:3], labels[:3])
  together = predictor.probabilities(pictures)
  np.testing.assert_allclose(np.stack([predictor.probabilities(each) for each in pictures]), together, rtol=1e-5,
                             atol=1e-6)
  assert predictor(pictures[4]) == labels[4]
  assert predictor(pictures[:0]).shape == (0,)


@pytest.mark.parametrize("same", [
    lambda images: images.astype(np.float32) / 255,
    lambda images: images[..., 0],
    lambda images: np.repeat(images, 3, axis=-1),
    lambda images: np.kron(images, np.ones((1, 2, 2, 1), np.uint8)),
], ids=["reals", "no channel", "colour", "twice the size"])
def test_forms_of_an_image_are_taken_alike(images, same):
  pictures, labels = drawings()
  predictor = metajax.load(images).adapt(pictures[:3], labels[:3])
  np.testing.assert_allclose(predictor.probabilities(same(pictures)), predictor.probabilities(pictures), atol=0.04)


@pytest.mark.bad_input
@pytest.mark.parametrize("given, message", [
    (np.full((2, 16, 16, 1), 300.0), "uint8 in .0, 255. or reals in .0, 1."),
    (np.zeros((2, 16, 16, 2), np.uint8), "1 or 3"),
    (np.full((2, 16, 16, 1), np.nan), "finite"),
    ([["a"]], "numbers"),
])
def test_wrong_images_end_in_a_sentence(images, given, message):
  pictures, labels = drawings()
  predictor = metajax.load(images).adapt(pictures[:3], labels[:3])
  with pytest.raises(ValueError, match=message):
    predictor(given)


@pytest.mark.bad_input
@pytest.mark.parametrize("count, labels, message", [
    (6, list("abcdef"), "up to 5 classes"), (3, ["a", "b"], "one target per example"), (2, [["a"], ["b"]], r"\[N\]"),
    (0, [], "at least one example")])
def test_wrong_support_sets_end_in_a_sentence(images, count, labels, message):
  with pytest.raises(ValueError, match=message):
    metajax.load(images).adapt(drawings()[0][:count], labels)


def test_what_is_no_model_is_said_to_be_none(tmp_path):
  with pytest.raises(FileNotFoundError, match="train to the end"):
    metajax.load(tmp_path)
  with pytest.raises(FileNotFoundError, match="there is no"):
    metajax.load(tmp_path / "nowhere")
  (tmp_path / "model.zip").write_bytes(b"not a zip")
  with pytest.raises(ValueError, match="cannot be read"):
    metajax.load(tmp_path)


def test_reals_are_in_the_callers_units(tmp_path):
  # In the learner's units y = x; the caller's are x = 100 + 10 x', y = 5e6 + 1e3 y'.
  learner = learners.ridge(networks.mlp((), 2, weights="shared"), initial_penalty=1e-6)
  params = learner.init(jax.random.key(0), jnp.zeros((1, 1)))
  shapes = Examples(*(jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in
                      (((3, 1), jnp.float32), ((3, 1), jnp.float32), ((3,), bool))))
  raw = serving.Raw(centre=(100.0,), scale=(10.0,), target_centre=5e6, target_scale=1e3, columns=("load",))
  serving.write(tmp_path / "model.zip", learner, params, shapes, raw=raw)
  x = np.asarray([[80.0], [90.0], [110.0], [130.0]])
  y = 5e6 + 1e3 * (x[:, 0] - 100) / 10
  predictor = metajax.load(tmp_path).adapt(x[:3], y[:3])
  np.testing.assert_allclose(predictor(x)[:, 0], y, rtol=1e-9, atol=2.0)
  assert predictor(x[3]).shape == (1,)
  with pytest.raises(ValueError, match="load"):
    predictor(np.zeros((2, 3)))
  with pytest.raises(ValueError, match="no probabilities"):
    predictor.probabilities(x)


def test_a_predictor_is_saved_and_exported(images, tmp_path):
  pictures, labels = drawings()
  predictor = metajax.load(images).adapt(pictures[:3], labels[:3])
  predictor.save(tmp_path / "bars.zip")
  again = metajax.load(tmp_path / "bars.zip")
  assert again(pictures).tolist() == labels.tolist()
  (tmp_path / "program").write_bytes(predictor.export())
  np.save(tmp_path / "queries.npy", pictures.astype(np.float32) / 255)
  program = ("import sys, numpy, jax; run = jax.export.deserialize(bytearray(open('program', 'rb').read())).call; "
             "q = numpy.load('queries.npy'); numpy.save('shares.npy', run(q)); assert run(q[:1]).shape == (1, 3); "
             "assert not any(name.startswith('metajax') for name in sys.modules)")
  subprocess.run([sys.executable, "-c", "from jax import export; " + program], cwd=tmp_path, check=True,
                 env={**os.environ, "XLA_FLAGS": ""})
  np.testing.assert_allclose(np.load(tmp_path / "shares.npy"), predictor.probabilities(pictures), rtol=1e-5, atol=1e-6)


def test_folders_are_predicted_from_the_command_line(images, tmp_path):
  pictures, labels = drawings()
  for index, (picture, label) in enumerate(zip(pictures, labels)):
    folder = tmp_path / "known" / label if index < 3 else tmp_path / "unknown"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.asarray(Image.fromarray(255 - picture[..., 0]).resize((40, 40)))  # dark on white, larger
    Image.fromarray(drawn.astype(np.uint16) * 257 if index in (0, 3) else drawn).save(folder / f"{index}.png")
  done = subprocess.run(
      [sys.executable, "-m", "launch.predict", f"--workdir={images.parent}", f"--support={tmp_path}/known",
       f"--query={tmp_path}/unknown", f"--output={tmp_path}/found.csv"], capture_output=True, text=True, check=False,
      env={**os.environ, "XLA_FLAGS": ""})
  assert done.returncode == 0, done.stderr
  with open(tmp_path / "found.csv", newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
  assert [row["example"] for row in rows] == ["3.png", "4.png", "5.png"]
  assert [row["prediction"] for row in rows] == labels[3:].tolist()


def test_a_learner_that_counts_its_examples_is_refused(tmp_path):
  learner, params, episodes = start(ROWS["protonet"])

  def counting(params, examples, key):
    return learner.adapt(params, examples, key) if len(examples.mask) > 5 else None

  with pytest.raises(ValueError, match="any number of examples"):
    serving.write(tmp_path / "model.zip", learner._replace(adapt=counting), params, first(episodes).support)


def test_solving_alone_is_what_a_predictor_does(tmp_path):
  learner, params, episodes = start(ROWS["protonet_conv4_batch"])
  episode = Episode(*first(episodes))
  serving.write(tmp_path / "model.zip", learner, params, episode.support)
  alone = metajax.objectives.solve.predict_alone(learner, params, episode, jax.random.key(0))
  together = solve(learner, losses.softmax_cross_entropy, {}, params, episode, jax.random.key(0)).outputs
  assert not np.allclose(alone, together, atol=1e-3)
  features = learner.embed(params, episode.support.inputs, episode.support.mask)
  adapted = learner.adapt(params, episode.support._replace(inputs=features), jax.random.key(0))
  one = learner.embed(params, episode.query.inputs[:1], jnp.ones(1, bool))
  np.testing.assert_allclose(alone[0], learner.predict(params, adapted, one, jnp.ones(1, bool))[0], rtol=1e-4,
                             atol=1e-5)


def test_the_page_about_models_is_true(images, tmp_path, monkeypatch):
  blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "use_model.md").read_text(encoding="utf-8"), re.S)
  monkeypatch.chdir(tmp_path)
  (tmp_path / "runs" / "quickstart").mkdir(parents=True)
  shutil.copy(images, "runs/quickstart/model.zip")
  pictures, _ = drawings()
  names = {"images": pictures[:3], "new_images": pictures}
  exec(blocks[0], names)  # pylint: disable=exec-used
  exec(blocks[1], names)  # pylint: disable=exec-used
  names["predictor"].save("cats.zip")
  service = dict(names)
  exec(blocks[2].replace("8000", "0").replace("server.serve_forever()", ""), service)  # pylint: disable=exec-used
  thread = threading.Thread(target=service["server"].serve_forever)
  thread.start()
  try:
    ask = lambda queries: urllib.request.urlopen(
        f"http://localhost:{service['server'].server_port}", data=json.dumps(queries).encode())
    assert json.load(ask(pictures.tolist())) == names["predictor"](pictures).tolist()
    with pytest.raises(urllib.error.HTTPError, match="400"):
      ask([[[[[1]]]]])
  finally:
    service["server"].shutdown()
    thread.join()
    service["server"].server_close()


def test_the_page_about_networks_is_true():
  blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "networks.md").read_text(encoding="utf-8"), re.S)
  names: dict = {}
  for block in blocks:
    exec(block, names)  # pylint: disable=exec-used
    params = names["network"].init(jax.random.key(0), jnp.ones((4, 3)))
    live = names["network"].in_training(jax.random.key(1))
    for network in (names["network"], live):
      assert network.apply(params, jnp.ones((4, 3)), jnp.ones(4, bool)).shape == (4, 5)


def test_a_program_that_takes_tasks_can_be_written():
  _, _, episodes = start(ROWS["protonet"])
  program = export.export(jax.jit(lambda episode: episode.support))(first(episodes)).serialize()
  support = export.deserialize(program).call(first(episodes))
  np.testing.assert_array_equal(support.inputs, first(episodes).support.inputs)
