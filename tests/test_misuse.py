"""What a new user gets wrong: another kind of object, swapped arguments, a loss of the wrong shape, data out of range.

Each gives a ValueError of one sentence before anything is compiled.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metajax
from metajax import learners, losses, networks, objectives, tasks
from metajax.examples import examples
from metajax.objectives.solve import solve
from metajax.training import init_state
from metajax.types import Learner, Objective, TaskDistribution

SINUSOIDS, SQUARED = tasks.sinusoids(shots=3, queries=5), losses.squared_error
NETWORK = networks.mlp((4,), 1)
MAML = learners.maml(NETWORK, SQUARED, optimizer=optax.sgd(0.01))
PROTONET = learners.protonet(networks.mlp((4,), 3), num_classes=3)
OBJECTIVE, ADAM = objectives.episodic(MAML, SQUARED), optax.adam(1e-3)
INPUTS = jnp.ones((3, 2))


def params_of(learner, inputs=jnp.ones((3, 1))):
  return jax.jit(learner.init)(jax.random.key(0), inputs)


def trace(objective, learner=MAML, distribution=SINUSOIDS):
  episodes = jax.eval_shape(lambda: tasks.sample_batch(distribution, jax.random.key(0), 2))
  params = jax.eval_shape(learner.init, jax.random.key(0), jnp.ones((3, 1)))
  return jax.eval_shape(objective, params, episodes, jax.random.key(0))


def refused(words, call):
  with pytest.raises(ValueError, match=words) as raised:
    call()
  assert str(raised.value).endswith((".", "?")) and "\n" not in str(raised.value)


LOSSES = {
    "a column": (lambda o, t: (o - t) ** 2,
                 r"one number per query, \[Q\]=\[\d\], but returned \[\d, 1\]; average over"),
    "a scalar": (lambda o, t: jnp.mean((o - t) ** 2), r"but returned \[\]; do not average")}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("make", [
    lambda wrong: objectives.episodic(MAML, wrong), lambda wrong: objectives.conml(MAML, wrong),
    lambda wrong: objectives.reptile(MAML, wrong), lambda wrong: objectives.episodic(MAML, SQUARED, {"mine": wrong}),
    lambda wrong: objectives.episodic(learners.maml(NETWORK, wrong, optimizer=optax.sgd(0.1)), SQUARED)])
def test_a_loss_of_another_shape_is_refused(make, name):
  wrong, words = LOSSES[name]
  refused(words, lambda: trace(make(wrong)))


@jax.numpy_rank_promotion("allow")  # as users have it
def test_outputs_without_the_axis_of_the_targets_are_refused():
  flat = MAML._replace(predict=lambda *of: MAML.predict(*of)[:, 0])
  refused("broadcast against targets", lambda: trace(objectives.episodic(flat, lambda o, t: (o - t) ** 2)))
  refused("pairs every output", lambda: trace(objectives.episodic(flat, lambda o, t: jnp.mean((o - t) ** 2, axis=1))))
  drawn = lambda data, key: metajax.Episode(*[
      part._replace(targets=part.targets[:, 0]) for part in SINUSOIDS.sample(data, key)])
  constant = MAML._replace(adapt=lambda params, examples, key: params, adapt_both=None)
  refused("pairs every output", lambda: trace(
      objectives.episodic(constant, lambda o, t: jnp.mean((o - t) ** 2, axis=1)), distribution=TaskDistribution(drawn)))
  one = MAML._replace(predict=lambda *of: MAML.predict(*of)[:1])
  refused("one output per query", lambda: trace(objectives.episodic(one, lambda o, t: (o - t)[:, 0] ** 2)))


@jax.numpy_rank_promotion("allow")
def test_a_loss_may_take_a_column_apart():
  flat = lambda o, t: (o[:, 0] - t) ** 2
  squeezed = lambda part: part._replace(targets=part.targets[:, 0])
  of = lambda data, key: metajax.Episode(*map(squeezed, SINUSOIDS.sample(data, key)))
  learner = learners.maml(NETWORK, flat, optimizer=optax.sgd(0.01))
  assert trace(objectives.episodic(learner, flat), distribution=TaskDistribution(of))[0].shape == ()


def test_a_score_of_booleans_is_a_share():
  right = lambda o, t: o.argmax(axis=1) == t
  set_of = examples(jnp.eye(3)[jnp.array([0, 1, 2, 1])], jnp.array([0, 1, 2, 1]))
  learner = learners.protonet(metajax.Network(lambda key, x: {}, lambda p, x, mask: x), num_classes=3)
  solved = solve(learner, losses.softmax_cross_entropy, {"right": right}, {}, metajax.Episode(set_of, set_of),
                 jax.random.key(0))
  assert solved.scores["right"] == 1.0


def _embeds(what):
  return lambda: trace(objectives.episodic(MAML._replace(embed=lambda params, inputs, mask: what(inputs)), SQUARED))


EPISODES = TaskDistribution(lambda data, key: None)
KINDS = {
    "a loss as objective": ("objective of train must be an objective.*squared_error", lambda: metajax.train(
        SQUARED, ADAM, SINUSOIDS, steps=1)),
    "a learner as objective": ("must be an objective.*a Learner", lambda: metajax.train(
        MAML, ADAM, SINUSOIDS, steps=1)),
    "an objective of a scalar": (r"must return a pair \(loss, metrics\)", lambda: metajax.train(
        Objective(lambda params, batch, key, axis_name: jnp.float32(0.0)), ADAM, SINUSOIDS, steps=1, init=MAML.init)),
    "an objective of a vector": ("must be scalars, but loss is", lambda: metajax.train(
        Objective(lambda params, batch, key, axis_name: (jnp.zeros(3), {})), ADAM, SINUSOIDS, steps=1,
        init=MAML.init)),
    "a number as optimizer": ("optimizer of train must be an optax optimizer.*the float 0.001", lambda: metajax.train(
        OBJECTIVE, 1e-3, SINUSOIDS, steps=1)),
    "a number as inner optimizer": ("optimizer of maml must be an optax optimizer", lambda: learners.maml(
        NETWORK, SQUARED, optimizer=0.01)),
    "an episode as tasks": ("tasks of train must be a TaskDistribution.*an Episode", lambda: metajax.train(
        OBJECTIVE, ADAM, tasks.sample_batch(SINUSOIDS, jax.random.key(0), 2), steps=1)),
    "tasks and optimizer swapped": ("optimizer of train must be", lambda: metajax.train(
        OBJECTIVE, SINUSOIDS, ADAM, steps=1)),
    "another state": ("trained.state", lambda: metajax.train(OBJECTIVE, ADAM, SINUSOIDS, steps=1, state={"w": 1})),
    "params and learner swapped": ("learner of evaluate must be a Learner", lambda: metajax.evaluate(
        {}, MAML, SINUSOIDS, SQUARED)),
    "a learner as params": ("trained parameters", lambda: metajax.evaluate(MAML, MAML, SINUSOIDS, SQUARED)),
    "a loss as tasks": ("tasks of evaluate must be", lambda: metajax.evaluate(MAML, {}, SQUARED, SINUSOIDS)),
    "widths as network": (r"network of maml must be a Network.*\(40, 40\)", lambda: learners.maml(
        (40, 40), SQUARED, optimizer=ADAM)),
    "a network as loss": ("loss of maml must be a function", lambda: learners.maml(NETWORK, NETWORK, optimizer=ADAM)),
    "a learner as network": ("must be a Network", lambda: learners.protonet(PROTONET, num_classes=3)),
    "one score": ("scores of evaluate must be a mapping", lambda: metajax.evaluate(
        MAML, {}, SINUSOIDS, SQUARED, losses.accuracy)),
    "a name as score": ("scores of episodic must be a mapping", lambda: objectives.episodic(
        MAML, SQUARED, {"accuracy": "accuracy"})),
    "learner and loss swapped": ("learner of conml must be a Learner", lambda: objectives.conml(SQUARED, MAML)),
    "a weight in quotes": ("weight of conml must be a finite number", lambda: objectives.conml(
        MAML, SQUARED, weight="0.1")),
    "a negative weight": ("must be 0 or more", lambda: objectives.conml(MAML, SQUARED, weight=-0.1)),
    "a negative weight of reptile": ("must be 0 or more", lambda: objectives.reptile(MAML, SQUARED, weight=-0.1)),
    "representations of integers": ("represent must return .* reals", lambda: trace(objectives.conml(
        MAML._replace(represent=lambda params, adapted, key: jnp.arange(3)), SQUARED))),
    "no representation": ("represent must return .* no array", lambda: trace(objectives.conml(
        MAML._replace(represent=lambda params, adapted, key: None), SQUARED))),
    "nothing embedded": ("embed must return .* no array", _embeds(lambda inputs: None)),
    "another number embedded": (r"embed must return .* N=8, but it returned \[7, 1\]", _embeds(lambda x: x[1:])),
    "a number as key": ("key of sample_batch must be a random key", lambda: tasks.sample_batch(SINUSOIDS, 0, 4)),
    "key and number swapped": ("random key", lambda: tasks.sample_batch(SINUSOIDS, 4, jax.random.key(0))),
    "init with inputs first": ("key of init must be a random key", lambda: MAML.init(INPUTS, jax.random.key(0))),
    "protonet's init with inputs first": ("key of init", lambda: PROTONET.init(INPUTS, jax.random.key(0))),
    "a key of a seed": ("key of adapt must be a random key", lambda: metajax.adapt(MAML, {}, INPUTS, INPUTS, key=0)),
    "a learner of init_state": ("optimizer of init_state", lambda: init_state(
        MAML, 0.1, SINUSOIDS, jax.random.key(0)))}


@pytest.mark.parametrize("name", KINDS)
def test_another_kind_of_object_is_refused(name):
  refused(*KINDS[name])


def test_what_train_returned_is_taken_for_its_parameters():
  trained = metajax.train(OBJECTIVE, ADAM, SINUSOIDS, steps=1, tasks_per_step=2, progress=False)
  told, given = (metajax.evaluate(MAML, each, SINUSOIDS, SQUARED, episodes=4) for each in (trained, trained.params))
  assert told["loss"].mean == given["loss"].mean
  model = metajax.adapt(MAML, trained, [[0.1], [0.2]], [[1], [2]])
  assert model([[0.5]]).shape == (1, 1) and model([0.5]).shape == (1,)


ADAPT = {
    "a label that is too large": (r"labels must be in \[0, 3\).* one is 7", INPUTS, [0, 1, 7]),
    "a negative label": ("one is -1", INPUTS, [0, 1, -1]),
    "words": ("targets must be numbers.*number the classes", INPUTS, ["cat", "dog", "cow"]),
    "NaN": ("inputs must be finite, but 1 of 3 examples.*index 1", INPUTS.at[1, 1].set(jnp.nan), [0, 1, 2]),
    "infinity": ("inputs must be finite", np.full((3, 2), np.inf), [0, 1, 2]),
    "unequal lists": ("inputs must be an array, or lists of equal length", [[1.0], [1.0, 2.0], [1.0]], [0, 1, 2]),
    "another size": (r"kernel would be float32\[4, 4\], but is float32\[2, 4\]", jnp.ones((3, 4)), [0, 1, 2])}


@pytest.mark.parametrize("name", ADAPT)
def test_data_that_do_not_fit_are_refused_by_adapt(name):
  words, inputs, targets = ADAPT[name]
  refused(words, lambda: metajax.adapt(PROTONET, params_of(PROTONET, INPUTS), inputs, targets))


def test_a_model_refuses_inputs_of_another_size():
  model = metajax.adapt(PROTONET, params_of(PROTONET, INPUTS), INPUTS, [0, 1, 2])
  refused(r"would be float32\[5, 4\]", lambda: model(jnp.ones((2, 5))))
  assert model(INPUTS.tolist()).shape == (3, 3)


def test_integers_are_reals_to_a_learner_of_reals():
  params = params_of(PROTONET, INPUTS)
  np.testing.assert_array_equal(metajax.adapt(PROTONET, params, INPUTS.astype(int), [0, 1, 2])(INPUTS.astype(int)),
                                metajax.adapt(PROTONET, params, INPUTS, [0, 1, 2])(INPUTS))


def test_integers_stay_integers_to_a_learner_of_integers():
  table = metajax.Network(lambda key, inputs: {"table": jnp.eye(9, 4)},
                          lambda params, inputs, mask: params["table"][inputs[:, 0]])
  learner = learners.protonet(table, num_classes=2)
  model = metajax.adapt(learner, learner.init(jax.random.key(0), jnp.ones((2, 1), int)), [[0], [1]], [0, 1])
  assert model([[1]]).argmax() == 1


def test_fewer_classes_than_the_tasks_have_are_found_before_training():
  five = lambda data, key: metajax.Episode(*[examples(jax.random.normal(key, (5, 2)), jnp.arange(5))] * 2)
  objective = objectives.episodic(PROTONET, losses.softmax_cross_entropy)
  refused(r"labels must be in \[0, 3\)", lambda: metajax.train(objective, ADAM, TaskDistribution(five), steps=1))


def test_a_non_finite_first_loss_names_its_likely_cause_and_no_command_line():
  wrong = Objective(lambda params, batch, key, axis_name: (
      jnp.nan * jnp.sum(params["w"]), {"loss": jnp.float32(jnp.nan)}))
  with pytest.raises(FloatingPointError, match="at step 1; .*labels") as raised:
    metajax.train(wrong, ADAM, SINUSOIDS, steps=1, tasks_per_step=8, progress=False,
                  init=lambda key, inputs: {"w": jnp.ones(2)})
  assert "config" not in str(raised.value)


def test_learner_is_what_it_says():
  assert isinstance(MAML, Learner) and OBJECTIVE.learner is MAML
