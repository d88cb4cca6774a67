"""Shared by the peers in torch: networks, initial parameters, batches as tensors, Adam."""

from typing import Any, Callable, Iterable

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from benchmarks.workloads import OUTER_RATE, Program, Workload, batch, initial

Task = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]  # support and query, inputs and targets


def network(workload: Workload, seed: int) -> nn.Module:
  """Returns the multi-layer perceptron or Conv4 of a workload, at its initial parameters.

  The convolutions have no bias: the batch norm after them would remove it.
  """
  layers: list[nn.Module] = []
  if len(workload.shape) == 3:
    channels = workload.shape[-1]
    for _ in range(workload.layers):
      layers += [nn.Conv2d(channels, workload.width, 3, 1 if workload.max_pool else 2, 1, bias=False),
                 nn.BatchNorm2d(workload.width, track_running_stats=False), nn.ReLU()]
      layers += [nn.MaxPool2d(2)] if workload.max_pool else []
      channels = workload.width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(workload.width, workload.ways)]
  else:
    sizes = [workload.shape[0]] + [workload.width] * workload.layers
    for inputs, outputs in zip(sizes, sizes[1:]):
      layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    layers.append(nn.Linear(workload.width, 1))
  return load(nn.Sequential(*layers), workload, seed)


def load(module: nn.Module, workload: Workload, seed: int) -> nn.Module:
  """Returns a module of convolutions, batch norms and linear layers with a workload's initial parameters, in order."""
  arrays = initial(workload, seed)

  def of(kind: type) -> Iterable[Any]:
    return (layer for layer in module.modules() if isinstance(layer, kind))

  for i, convolution in enumerate(of(nn.Conv2d)):
    put(convolution.weight, arrays[f"conv{i}/kernel"].transpose(3, 2, 0, 1))
    if convolution.bias is not None:
      nn.init.zeros_(convolution.bias)
  for i, norm in enumerate(of(nn.BatchNorm2d)):
    put_norm(norm, arrays, f"conv{i}")
  for i, linear in enumerate(of(nn.Linear)):
    put_dense(linear, arrays, f"dense{i}")
  return module


def put_dense(linear: nn.Module, arrays: dict[str, np.ndarray], name: str, transposed: bool = True) -> None:
  """Sets a linear layer's weight, `[out, in]` if transposed, and bias."""
  put(linear.weight, arrays[f"{name}/kernel"].T if transposed else arrays[f"{name}/kernel"])
  put(linear.bias, arrays[f"{name}/bias"])


def put_norm(norm: nn.Module, arrays: dict[str, np.ndarray], name: str) -> None:
  """Sets a normalisation's scale and bias."""
  put(norm.weight, arrays[f"{name}/scale"])
  put(norm.bias, arrays[f"{name}/bias"])


def put(parameter: Any, array: np.ndarray) -> None:
  """Sets a parameter to an array of its shape."""
  if tuple(parameter.shape) != array.shape:
    raise ValueError(f"a parameter of shape {tuple(parameter.shape)} cannot take an array of shape {array.shape}.")
  with torch.no_grad():
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def tensors(workload: Workload, seed: int) -> Task:
  """Returns the meta-batch as tensors with leading `T`, images channels-first."""
  def tensor(array: np.ndarray) -> torch.Tensor:
    if array.ndim == 5:
      array = array.transpose(0, 1, 4, 2, 3)
    return torch.from_numpy(np.ascontiguousarray(array if array.dtype == np.float32 else array.astype(np.int64)))

  support_inputs, support_targets, query_inputs, query_targets = map(tensor, batch(workload, seed))
  return support_inputs, support_targets, query_inputs, query_targets


def tasks(workload: Workload, seed: int) -> list[Task]:
  """Yields the tasks of a meta-batch one by one."""
  return list(zip(*tensors(workload, seed)))


def loss(workload: Workload) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
  """Returns the mean loss of outputs and targets."""
  return F.cross_entropy if workload.ways else F.mse_loss


def with_adam(parameters: Iterable[torch.Tensor], gradients: Callable[[], float]) -> Program:
  """Returns the program of a function that sets the gradients and returns the loss, followed by an Adam step."""
  parameters = list(parameters)
  optimizer = torch.optim.Adam(parameters, lr=OUTER_RATE, fused=True)  # the fastest of torch's three implementations

  def call() -> float:
    optimizer.zero_grad()
    value = gradients()
    optimizer.step()
    return value

  def gradient_norm() -> float:
    return torch.nn.utils.get_total_norm([leaf.grad for leaf in parameters if leaf.grad is not None]).item()

  return Program(call, 1, gradient_norm)
