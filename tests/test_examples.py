"""Labelled sets: union, subsets, means, and rejection of malformed sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.examples import check_episodes, examples, masked_mean, take, union, zero_padding
from metajax.networks.mixture import Mixture
from metajax.types import Episode
from tests.helpers import classification_episodes

FIRST = examples({"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.arange(3)}, jnp.asarray([5, 6, 7]),
                 jnp.asarray([True, False, True]))
SECOND = examples({"a": jnp.arange(10.0, 14.0).reshape(2, 2), "b": jnp.asarray([8, 9])}, jnp.asarray([1, 2]))


def test_without_a_mask_nothing_is_padding():
  assert SECOND.mask.dtype == jnp.bool_ and SECOND.mask.tolist() == [True, True]


def test_union_is_the_first_before_the_second():
  whole = union(FIRST, SECOND)
  assert whole.targets.tolist() == [5, 6, 7, 1, 2]
  assert whole.mask.tolist() == [True, False, True, True, True]
  assert whole.inputs["b"].tolist() == [0, 1, 2, 8, 9]
  assert whole.inputs["a"][:, 1].tolist() == [1, 3, 5, 11, 13]


def test_take_keeps_inputs_targets_and_mask_together():
  taken = take(FIRST, jnp.asarray([1, 2, 1, 0]))
  assert taken.targets.tolist() == [6, 7, 6, 5]
  assert taken.mask.tolist() == [False, True, False, True]
  assert taken.inputs["b"].tolist() == [1, 2, 1, 0]
  assert taken.inputs["a"][:, 0].tolist() == [2, 4, 2, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_padding_is_zero_for_any_contents(value):
  mask = jnp.asarray([True, False])
  inputs = {"a": jnp.asarray([[[1.5, 2.5]], [[value, value]]]), "b": jnp.asarray([3, 4]), "c": mask | True,
            "d": Mixture(*jnp.asarray([[1.0, value], [2.0, value], [0.5, value]]), jnp.asarray([1, 2]))}
  got = zero_padding(examples(inputs, jnp.asarray([7.0, value]), mask))
  assert got.inputs["a"].tolist() == [[[1.5, 2.5]], [[0, 0]]] and got.inputs["b"].tolist() == [3, 0]
  assert got.inputs["c"].tolist() == [True, False] and got.inputs["b"].dtype == jnp.int32
  assert [leaf.tolist() for leaf in got.inputs["d"]] == [[1, 0], [2, 0], [0.5, 0], [1, 0]]
  assert got.targets.tolist() == [7, 0] and got.mask.tolist() == [True, False]


@pytest.mark.parametrize("mask, mean", [([True, True, True], 11 / 3), ([True, False, True], 4.5),
                                        ([False, True, False], 2.0), ([False, False, False], 0.0)])
def test_masked_mean_and_its_gradient(mask, mean):
  values, mask = jnp.asarray([1.0, 2.0, 8.0]), np.asarray(mask)
  value, gradient = jax.value_and_grad(masked_mean)(values, jnp.asarray(mask))
  assert float(value) == pytest.approx(mean)
  np.testing.assert_allclose(gradient, mask / max(mask.sum(), 1), rtol=1e-6)


def test_masked_mean_does_not_look_at_padding():
  value, gradient = jax.value_and_grad(masked_mean)(jnp.asarray([jnp.nan, 3.0, jnp.inf]),
                                                   jnp.asarray([False, True, False]))
  assert value == 3 and gradient.tolist() == [0, 1, 0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_masked_mean_keeps_the_dtype(dtype):
  assert masked_mean(jnp.ones(3, dtype), jnp.ones(3, bool)).dtype == dtype


def test_well_formed_episodes_are_counted_also_when_traced():
  episodes = classification_episodes(3, padding=2)
  assert check_episodes(episodes) == 3
  assert jax.eval_shape(lambda episodes: jnp.zeros(check_episodes(episodes)), episodes).shape == (3,)


def malformed():
  """Yields an episode with one fault, and its error message."""
  support, query = classification_episodes(3, ways=3, shots=2, queries=4)
  for name in ("support", "query"):
    good = Episode(support, query)
    part = getattr(good, name)
    size = part.mask.shape[1]
    wrong = lambda **changes: good._replace(**{name: part._replace(**changes)})
    yield wrong(mask=part.mask[0]), rf"{name}\.mask must be booleans of shape \[tasks, examples\].*bool\[{size}\]"
    yield wrong(mask=part.mask.astype(jnp.float32)), rf"{name}\.mask must be booleans.*float32\[3, {size}\]"
    yield wrong(mask=part.mask[..., None]), rf"{name}\.mask must be booleans"
    empty = jax.tree.map(lambda leaf: leaf[:, :0], part)
    yield good._replace(**{name: empty}), rf"{name} holds no examples"
    yield wrong(inputs=part.inputs[:, 1:]), rf"{name}\.inputs must begin with.*\[3, {size}\].*\[3, {size - 1}, 4\]"
    yield wrong(inputs={"a": part.inputs, "b": part.inputs[:2]}), rf"{name}\.inputs\['b'\] must begin with"
    yield wrong(targets=part.targets[:1]), rf"{name}\.targets must begin with.*\[1, {size}\]"
    yield wrong(targets=part.targets[0]), rf"{name}\.targets must begin with"
  yield Episode(support, jax.tree.map(lambda leaf: leaf[:2], query)), "must hold the same tasks, but they hold 3 and 2"


@pytest.mark.parametrize("number", range(17))
def test_malformed_episodes_are_refused_in_a_sentence(number):
  cases = list(malformed())
  assert len(cases) == 17
  episodes, sentence = cases[number]
  with pytest.raises(ValueError, match=sentence):
    check_episodes(episodes)
