"""Learners on images compute the same if tasks are mapped at once or one by one."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import pytest

from experiments.few_shot import few_shot, fsmol, omniglot, quickstart, vectors
from experiments.few_shot.image_learners import make_learner
from experiments.regression import sinusoid
from experiments.settings import Training
from metajax import losses, objectives
from metajax.lab.recipe import tasks_at_a_time
from metajax.networks.normalisation import batch_statistics
from metajax.types import Episode, Examples


@pytest.mark.parametrize("name", ["protonet", "ridge"])  # whole blocks, and single convolutions
def test_tasks_one_by_one_have_the_gradient_of_all_at_once(name):
  key = jax.random.key(0)
  inputs = jax.random.normal(key, (2, 4, 12, 12, 1))
  examples = Examples(inputs, jnp.tile(jnp.arange(2, dtype=jnp.int32), (2, 2)),
                      jnp.ones((2, 4), bool))
  gradients = []
  for chunk, task_map in ((0, objectives.at_once), (1, objectives.in_chunks(1))):
    config = omniglot.get_config(name)
    config = dataclasses.replace(config, filters=5, training=dataclasses.replace(config.training, task_chunk=chunk))
    learner = make_learner(config, batch_statistics, 2, 0)
    objective = objectives.episodic(learner, losses.softmax_cross_entropy, task_map=task_map)
    gradient = jax.jit(jax.grad(lambda params: objective(params, Episode(examples, examples), key)[0]))
    params = learner.init(key, inputs[0])
    gradients.append(gradient(params))
  chex.assert_trees_all_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend, chunk", [("cpu", 1), ("tpu", 0), ("gpu", 0)])
def test_the_task_chunk_is_chosen_for_the_machine_unless_set(monkeypatch, backend, chunk):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  assert tasks_at_a_time(omniglot.get_config("protonet").training) == chunk
  assert [tasks_at_a_time(Training(task_chunk=given)) for given in (0, 1, 4)] == [0, 1, 4]


@pytest.mark.parametrize("config, build", [
    (sinusoid.get_config("maml"), sinusoid.build), (omniglot.get_config("ridge"), omniglot.build),
    (few_shot.get_config("ridge"), few_shot.build), (vectors.get_config("ridge"), vectors.build),
    (fsmol.get_config("protonet"), fsmol.build),
    (dataclasses.replace(quickstart.get_config(), data="omniglot"), quickstart.build)],
    ids=["sinusoid", "omniglot", "few_shot", "vectors", "fsmol", "quickstart"])
def test_fewer_tasks_than_the_machines_choice_are_refused_before_data_are_looked_for(monkeypatch, tmp_path, config,
                                                                                       build):
  monkeypatch.setenv("METAJAX_DATA_DIR", str(tmp_path))  # for none
  with pytest.raises(ValueError, match="task_chunk=-2"):
    build(dataclasses.replace(config, training=dataclasses.replace(config.training, task_chunk=-2)))
