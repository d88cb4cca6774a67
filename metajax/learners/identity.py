"""The defaults of a learner: no embedding, and the adapted state as its own representation."""


def identity_embed(params, inputs, mask):
  """Returns the inputs, for learners without a task-independent embedding."""
  del params, mask
  return inputs


def identity_represent(params, adapted, key):
  """Returns the adapted state: the paper's psi for MAML (weights), ProtoNet (class means) and CNAPs (FiLM)."""
  del params, key
  return adapted
