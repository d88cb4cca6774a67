"""Bad input to every public function gives a ValueError with one sentence, or the correct result; nothing else.

Checks of shapes and dtypes run without computation (`jax.eval_shape`), so there can be many.
"""

import ast
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import contrast, learners, losses, networks, objectives, training
from metajax.contrast import distances
from metajax.examples import check_episodes, examples
from metajax.objectives import views
from metajax.tasks.class_data import ClassData, from_arrays
from metajax.tasks.classes import class_tasks
from metajax.tasks.functions import function_tasks, linear
from metajax.tasks.groups import GroupData, group_tasks
from metajax.tasks.projected import projected
from metajax.tasks.ragged import ragged_tasks
from metajax.tasks.sinusoids import sinusoids
from metajax.training import evaluation
from metajax.training.sharding import task_mesh
from metajax.types import Episode
from tests.helpers import tanh_network

pytestmark = pytest.mark.bad_input

_PHIS = {"cosine": distances.cosine, "squared_euclidean": distances.squared_euclidean,
         "sigmoid_squared": distances.sigmoid_squared}
_DTYPES = ("float32", "int32", "uint8", "bool", "complex64", "<U3", "object")
_NO_NUMBERS = {"<U3", "object"}
_LABELS = np.array([0, 1, 0, 1])


def answer(call):
  """Returns the result of a call, or the message of its ValueError; other errors propagate."""
  try:
    return call()
  except ValueError as error:
    sentence = str(error)
    assert len(sentence.split()) >= 4 and sentence.rstrip().endswith((".", ")", "?")), sentence
    return sentence


def refusal(call):
  """Returns the message of a call's ValueError."""
  with pytest.raises(ValueError) as raised:
    call()
  return answer(call) and str(raised.value)


class Array(NamedTuple):
  """A shape and a dtype."""
  shape: tuple
  dtype: str

  def make(self):
    return np.zeros(self.shape, self.dtype)


_arrays = st.builds(Array, st.lists(st.integers(0, 3), max_size=4).map(tuple),
                    st.sampled_from(("float32",) * 4 + _DTYPES))
_many = settings(max_examples=60, deadline=None, derandomize=True, database=None)


_LEARNERS = {
    "maml": (learners.maml(tanh_network(1, 4, 1), losses.squared_error, optimizer=optax.sgd(0.1)),
             losses.squared_error),
    **{make.__name__: (make(tanh_network(1, 4, 3), num_classes=2), losses.softmax_cross_entropy)
       for make in (learners.protonet, learners.matchingnet)}}
_OBJECTIVES = {"episodic": objectives.episodic, "conml": objectives.conml, "reptile": objectives.reptile}


def _real(dtype):
  return np.issubdtype(np.dtype(dtype), np.floating) or np.issubdtype(np.dtype(dtype), np.integer)


@_many
@given(_arrays, _arrays, st.sampled_from(sorted(_PHIS)))
def test_representations_of_any_shape_and_type(full, parts, name):
  whole, some = full.make(), parts.make()
  said = answer(lambda: jax.eval_shape(lambda: contrast.contrastive_loss(whole, some, _PHIS[name])))
  proper = (_real(full.dtype) and _real(parts.dtype) and len(full.shape) >= 1 and full.shape[0] >= 2
            and len(parts.shape) == len(full.shape) + 1 and parts.shape[0] == full.shape[0] and parts.shape[1] >= 1
            and parts.shape[2:] == full.shape[1:])
  assert isinstance(said, str) != proper, said
  assert isinstance(said, str) or said.shape == ()


@_many
@given(_arrays, _arrays, st.sampled_from(sorted(_PHIS)))
def test_two_representations_of_any_shape(a, b, name):
  said = answer(lambda: jax.eval_shape(lambda: _PHIS[name](a.make(), b.make())))
  if a.shape != b.shape or not (_real(a.dtype) and _real(b.dtype)):
    assert isinstance(said, str)
  else:
    assert said.shape == ()


@_many
@given(_arrays, _arrays, st.sampled_from(["softmax_cross_entropy", "squared_error", "accuracy"]))
def test_losses_of_any_shape_and_type(outputs, targets, name):
  said = answer(lambda: jax.eval_shape(lambda: getattr(losses, name)(outputs.make(), targets.make())))
  assert isinstance(said, str) or said.shape == outputs.shape[:1]
  if name != "squared_error" and not isinstance(said, str):
    assert len(outputs.shape) == 2 and targets.shape == outputs.shape[:1] and np.issubdtype(targets.dtype, np.integer)


@_many
@given(_arrays, _arrays, _arrays, st.sampled_from(["support", "query"]))
def test_episodes_of_any_shape_and_type(inputs, targets, mask, part):
  bad = examples(inputs.make(), targets.make(), mask.make())
  good = examples(*(np.zeros((2, 3, *part.shape[2:]), part.dtype) for part in (inputs, targets)), np.ones((2, 3), bool))
  episodes = Episode(bad, good) if part == "support" else Episode(good, bad)
  said = answer(lambda: check_episodes(episodes))
  proper = (mask.dtype == "bool" and len(mask.shape) == 2 and mask.shape[1] > 0 and mask.shape[0] == 2
            and inputs.shape[:2] == targets.shape[:2] == mask.shape and not {inputs.dtype, targets.dtype} & _NO_NUMBERS)
  assert isinstance(said, str) != proper, said


@_many
@given(_arrays, _arrays, st.sampled_from(["inputs", "targets"]))
def test_support_and_query_are_alike(support, query, name):
  good = np.zeros((2, 3, 1), np.float32)
  whole = lambda array: np.zeros((2, 3, *array.shape), array.dtype)
  part = lambda array: examples(good, good, np.ones((2, 3), bool))._replace(**{name: whole(array)})
  said = answer(lambda: check_episodes(Episode(part(support), part(query))))
  assert isinstance(said, str) == (support != query or support.dtype in _NO_NUMBERS), said


@_many
@given(_arrays, st.sampled_from(sorted(_LEARNERS)), st.sampled_from(sorted(_OBJECTIVES)))
def test_objectives_of_targets_of_any_shape_and_type(targets, learner, objective):
  """Well-formed tasks for which the learner was not built."""
  part = examples(np.zeros((2, 3, 1), np.float32), np.zeros((2, 3, *targets.shape), targets.dtype),
                  np.ones((2, 3), bool))
  made, loss = _LEARNERS[learner]
  said = answer(lambda: jax.eval_shape(
      lambda key: _OBJECTIVES[objective](made, loss)(made.init(key, part.inputs[0]), Episode(part, part), key)[0],
      jax.random.key(0)))
  assert isinstance(said, str) or said.shape == ()


@_many
@given(_arrays, _arrays)
def test_classes_from_arrays_of_any_shape_and_type(inputs, targets):
  said = answer(lambda: from_arrays(inputs.make(), targets.make()))
  assert isinstance(said, str) or len(said.examples) == said.counts.sum() == inputs.shape[0] == targets.shape[0]


@pytest.mark.parametrize("name", _PHIS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_values_are_not_hidden(name, bad):
  full = jnp.ones((3, 2)).at[1, 1].set(bad)
  assert not np.isfinite(contrast.contrastive_loss(full, full[:, None], _PHIS[name]))


_WRONG = {"a word": "3", "a fraction": 1.5, "a whole float": 2.0, "a switch": True, "nothing": None, "a list": [2],
          "no number": float("nan"), "minus one": -1, "minus many": -2**40}
_network = tanh_network(1, 4, 1)
_tasks = sinusoids(3, 3)
_blobs = ClassData(np.zeros((20, 4), np.float32), np.full(4, 5, np.int32), tuple("abcd"), "blobs")
_groups = GroupData(np.zeros((20, 4), np.float32), np.zeros((20, 1), np.float32), np.full(4, 5, np.int32),
                    tuple("abcd"), "groups")
_maml = learners.maml(_network, losses.squared_error, optimizer=optax.sgd(0.1))
_COUNTS = {
    "sinusoids shots": lambda n: sinusoids(n, 3),
    "sinusoids queries": lambda n: sinusoids(3, n),
    "function_tasks dimensions": lambda n: function_tasks(linear, dimensions=n, points=3),
    "function_tasks points": lambda n: function_tasks(linear, dimensions=3, points=n),
    "class_tasks ways": lambda n: class_tasks(_blobs, ways=n, shots=1, queries=1),
    "class_tasks shots": lambda n: class_tasks(_blobs, ways=2, shots=n, queries=1),
    "class_tasks queries": lambda n: class_tasks(_blobs, ways=2, shots=1, queries=n),
    "ragged_tasks fewest ways": lambda n: ragged_tasks(_blobs, ways=(n, 3), shots=(1, 2), queries=1),
    "ragged_tasks most ways": lambda n: ragged_tasks(_blobs, ways=(2, n), shots=(1, 2), queries=1),
    "ragged_tasks fewest shots": lambda n: ragged_tasks(_blobs, ways=(2, 3), shots=(n, 2), queries=1),
    "ragged_tasks most shots": lambda n: ragged_tasks(_blobs, ways=(2, 3), shots=(1, n), queries=1),
    "ragged_tasks queries": lambda n: ragged_tasks(_blobs, ways=(2, 3), shots=(1, 2), queries=n),
    "group_tasks shots": lambda n: group_tasks(_groups, shots=n, queries=1),
    "group_tasks queries": lambda n: group_tasks(_groups, shots=1, queries=n),
    "projected width": lambda n: projected(_tasks, n),
    "random_subsets views": lambda n: views.random_subsets(n, 2),
    "random_subsets size": lambda n: views.random_subsets(2, n),
    "balanced_subsets views": lambda n: views.balanced_subsets(n, 2, 2),
    "balanced_subsets classes": lambda n: views.balanced_subsets(2, n, 2),
    "balanced_subsets shots": lambda n: views.balanced_subsets(2, 2, n),
    "leave_one_out views": lambda n: views.leave_one_out(n, 2),
    "leave_one_out classes": lambda n: views.leave_one_out(2, n),
    "in_chunks": lambda n: objectives.in_chunks(n),
    "maml steps": lambda n: learners.maml(_network, losses.squared_error, optimizer=optax.sgd(0.1), num_steps=n),
    "protonet classes": lambda n: learners.protonet(_network, num_classes=n),
    "make_evaluate episodes": lambda n: evaluation.make_evaluate(
        _maml, losses.squared_error, {}, _tasks, num_episodes=n, key=jax.random.key(0)),
    "make_advance tasks": lambda n: training.make_advance(
        objectives.episodic(_maml, losses.squared_error), optax.sgd(0.1), _tasks, num_tasks=n, num_steps=1,
        key=jax.random.key(0), mesh=task_mesh(jax.devices()[:1])),
    "make_advance steps": lambda n: training.make_advance(
        objectives.episodic(_maml, losses.squared_error), optax.sgd(0.1), _tasks, num_tasks=2, num_steps=n,
        key=jax.random.key(0), mesh=task_mesh(jax.devices()[:1])),
}


@pytest.mark.parametrize("value", _WRONG)
@pytest.mark.parametrize("place", _COUNTS)
def test_invalid_counts_are_rejected(place, value):
  assert refusal(lambda: _COUNTS[place](_WRONG[value]))


@pytest.mark.parametrize("place", _COUNTS)
def test_numbers_of_numpy_are_numbers(place):
  _COUNTS[place](np.int64(2))


@pytest.mark.parametrize("bad", ["low", None, float("nan"), float("inf"), True])
@pytest.mark.parametrize("name", ["amplitude", "phase", "span"])
def test_invalid_ranges_are_rejected(name, bad):
  for ends in ((bad, 1.0), (0.0, bad)):
    assert name in refusal(lambda: sinusoids(2, 2, **{name: ends}))


@pytest.mark.parametrize("label", [-1, -5, 2, 100])
def test_a_label_out_of_range_matches_no_class(label):
  outputs = jnp.array([[0.0, 1.0], [2.0, 0.0]])
  found = jax.jit(losses.softmax_cross_entropy)(outputs, jnp.array([label, 0]))
  assert np.isnan(found[0]) and np.isfinite(found[1])
  np.testing.assert_array_equal(losses.accuracy(outputs, jnp.array([label, 0])), [0.0, 1.0])
  padded = lambda outputs: jnp.sum(jnp.where(jnp.array([False, True]),
                                             losses.softmax_cross_entropy(outputs, jnp.array([label, 0])), 0.0))
  assert np.isfinite(jax.grad(padded)(outputs)).all()  # padding may have any label


def _episode(support, query, targets=np.float32):
  part = lambda count: examples(np.zeros((2, count, 1), np.float32), np.zeros((2, count, 1), targets),
                                np.ones((2, count), bool))
  return Episode(part(support), part(query))


@pytest.mark.parametrize("support, query, words", [(0, 3, "support holds no examples"), (3, 0, "query holds no")])
@pytest.mark.parametrize("make", [objectives.episodic, objectives.conml, objectives.reptile])
def test_tasks_without_examples(make, support, query, words):
  objective = make(_maml, losses.squared_error)
  params = {}
  assert words in refusal(lambda: jax.eval_shape(objective, params, _episode(support, query), jax.random.key(0)))


def test_one_class_episodes_are_answered():
  learner = learners.protonet(tanh_network(1, 4, 3), num_classes=2)
  params = learner.init(jax.random.key(0), np.zeros((4, 1), np.float32))
  part = examples(jnp.ones((2, 4, 1)), jnp.zeros((2, 4), jnp.int32), jnp.ones((2, 4), bool))
  loss, metrics = jax.jit(objectives.episodic(learner, losses.softmax_cross_entropy, {"accuracy": losses.accuracy}))(
      params, Episode(part, part), jax.random.key(0))
  assert loss == 0 and metrics["accuracy"] == 1  # the class without examples is never predicted


@pytest.mark.parametrize("size", [7, 100])
def test_views_larger_than_the_union(size):
  part = jax.tree.map(lambda leaf: leaf[0], _episode(3, 3))
  assert "does not fit a task of 6" in refusal(lambda: views.random_subsets(2, size)(jax.random.key(0), *part))


def test_one_task_has_no_discrimination():
  assert "at least 2 tasks" in refusal(lambda: contrast.inter_task_distance(jnp.ones((1, 3)), distances.cosine))


def test_no_view_has_no_alignment():
  assert "K must be at least 1" in refusal(
      lambda: contrast.inner_task_distance(jnp.ones((2, 3)), jnp.ones((2, 0, 3)), distances.cosine))


def test_no_pickle_is_ever_loaded():
  for package in ("metajax", "launch", "experiments", "benchmarks"):
    for path in (Path(__file__).parent.parent / package).rglob("*.py"):
      for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        assert not {"pickle", "cloudpickle", "dill", "joblib", "shelve"} & set(names), path
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
          assert isinstance(node.value, ast.Constant) and node.value.value is False, path


def test_invalid_networks_are_rejected():
  for width in (0, -1, "4", 1.5):
    assert refusal(lambda: networks.mlp((width,), 1).init(jax.random.key(0), jnp.ones((3, 1))))
