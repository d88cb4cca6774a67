"""Submits a command of this library to Kubernetes (GKE, or any cluster with JobSet), one process per pod.

  python -m launch.on_kubernetes --name=run1 --image=<image> --processes=16 --chips=4 --topology=4x4x4 \\
      --accelerator=tpu-v5p-slice --volume=<claim>:/shared -- \\
      python -m launch.train --config=<recipe> --workdir=/shared/run1
  python -m launch.on_kubernetes ... --slices=4 --spot --dry_run -- ...      prints the manifest only

If a pod is preempted or asks to be requeued, the job set restarts, and the run resumes from its workdir. The manifest
is JSON, which kubectl accepts like YAML. GKE tells TPU pods their coordinator; for other pods it is the first pod, by
the name that the job set gives it. A workdir in a bucket needs no volume.
"""

import json
import math
import re
import subprocess
from typing import Any, Mapping, Sequence

from absl import flags

from launch import pods

_GROUP = "process"  # the name of the replicated job
_PORT = 8476
_INDEX = "METAJAX_PROCESS"  # the variable that holds the index of a process
_SPOT = "cloud.google.com/gke-spot"


def manifest(command: Sequence[str], *, name: str, image: str | None, processes: int, chips: int,
             accelerator: str | None, topology: str | None, volume: str | None, restarts: int, slices: int = 1,
             spot: bool = False, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
  """Returns the job set.

  Raises:
    ValueError: if the image or the command is missing, the name is not one of Kubernetes, a TPU type is given without
      its topology or does not have that many chips, several slices are not of TPUs, or the volume is not
      `<claim>:<path>`.
  """
  if not image:
    raise ValueError("no container image is named; give --image=<image> with metajax installed in it.")
  check_name(name, processes, slices)
  check_slices(accelerator, topology, processes, chips, slices)
  resource = "google.com/tpu" if accelerator else "nvidia.com/gpu"
  words = [_literal(word) for word in pods.as_module(command)]
  meet = "auto" if accelerator else f"{name}-{_GROUP}-0-0.{name}:{_PORT},{processes},$({_INDEX})"
  container: dict[str, Any] = {
      "name": "metajax", "image": image, "command": ["python", "-m", *words, f"--hosts={meet}"],
      "env": [*({"name": each, "value": _literal(value)} for each, value in (variables or {}).items()),
              {"name": _INDEX, "valueFrom": {"fieldRef": {
                  "fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}}],
      "resources": {"limits": {resource: chips}}}
  # A run that is asked to stop finishes its dispatch and saves before it exits.
  pod: dict[str, Any] = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 120, "containers": [container]}
  if volume:
    claim, path = mount(volume)
    container["volumeMounts"] = [{"name": "shared", "mountPath": path}]
    pod["volumes"] = [{"name": "shared", "persistentVolumeClaim": {"claimName": claim}}]
  nodes = {"cloud.google.com/gke-tpu-accelerator": accelerator,
           "cloud.google.com/gke-tpu-topology": topology} if accelerator else {}
  if spot:
    nodes[_SPOT] = "true"
    pod["tolerations"] = [{"key": _SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}]
  if nodes:
    pod["nodeSelector"] = nodes
  job = {"parallelism": processes, "completions": processes, "completionMode": "Indexed", "backoffLimit": 0,
         "template": {"spec": pod}}
  # One job per slice, each on a node pool of its own. GKE tells the pods of several TPU jobs in a job set their slice
  # (MEGASCALE_COORDINATOR_ADDRESS, MEGASCALE_NUM_SLICES, MEGASCALE_SLICE_ID), which JAX reads, so nothing is set here.
  about = {"annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}}
  return {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet",
          "metadata": {"name": name, **(about if slices > 1 else {})},
          "spec": {"failurePolicy": {"maxRestarts": restarts},
                   "replicatedJobs": [{"name": _GROUP, "replicas": slices, "template": {"spec": job}}]}}


def check_name(name: str, processes: int, slices: int = 1) -> None:
  """Raises ValueError unless a job set can have this name: it is also that of a service, and begins those of pods."""
  if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
    raise ValueError(f"--name={name} is not a name for Kubernetes; use lowercase letters, digits and dashes, beginning "
                     "with a letter and not ending with a dash, such as run-1.")
  most = 63 - len(f"-{_GROUP}-{slices - 1}-{processes - 1}-xxxxx")  # the end of a pod's name
  if len(name) > most:
    raise ValueError(f"--name={name} has {len(name)} characters, and the names of its pods would be too long for "
                     f"Kubernetes; use {most} or fewer.")


def check_slices(accelerator: str | None, topology: str | None, processes: int, chips: int, slices: int = 1) -> None:
  """Raises ValueError if the pods do not have the chips of a TPU slice, or several slices are not of TPUs."""
  if bool(accelerator) != bool(topology):
    raise ValueError("a TPU slice needs both --accelerator=<type> and --topology=<shape>.")
  if not accelerator or not topology:
    if slices > 1:
      raise ValueError(f"--slices={slices} is for TPUs; for more machines with GPUs give more --processes.")
    return
  if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", topology, re.ASCII):
    raise ValueError(f"--topology={topology} is not the shape of a TPU slice; give 2 or 3 numbers, such as 4x4x4.")
  size = math.prod(map(int, topology.split("x")))
  if chips > size or processes > 1 and processes * chips != size:
    raise ValueError(f"a slice of --topology={topology} has {size} chips, but --processes={processes} with "
                     f"--chips={chips} need {processes * chips}; make them equal.")


def mount(volume: str) -> tuple[str, str]:
  """Returns the claim of a volume and the folder where it is mounted.

  Raises:
    ValueError: if it is not `<claim>:<path>`.
  """
  claim, _, path = volume.partition(":")
  if not claim or not path.startswith("/"):
    raise ValueError(f"--volume must be <claim>:<path>, such as runs:/shared, but it is {volume}.")
  return claim, path


def _literal(text: str) -> str:
  """Returns a text that Kubernetes leaves as it is: it would replace `$(NAME)` by the variable of that name."""
  return text.replace("$", "$$")


def main(arguments: list[str]) -> None:
  given = flags.FLAGS
  made = json.dumps(manifest(
      arguments[1:], name=given.name, image=given.image, processes=given.processes, chips=given.chips,
      accelerator=given.accelerator, topology=given.topology, volume=given.volume, restarts=given.restarts,
      slices=given.slices, spot=given.spot, variables=pods.variables()), indent=2)
  pods.check_command(arguments[1:], processes=given.processes * given.slices, needs_workdir=True,
                     shared=[mount(given.volume)[1]] if given.volume else [])
  if given.dry_run:
    print(made)
    return
  raise SystemExit(subprocess.run(["kubectl", "apply", "-f", "-"], input=made, text=True, check=False).returncode)


def define_flags() -> None:
  """Defines the flags of this command, whose names other commands use too."""
  flags.DEFINE_string("name", "metajax", "the name of the job set")
  flags.DEFINE_string("image", None, "a container image with metajax installed; required")
  flags.DEFINE_integer("processes", 1, "the number of pods, for TPUs in each slice", lower_bound=1)
  flags.DEFINE_integer("chips", 4, "TPU chips, or GPUs, per pod", lower_bound=1)
  flags.DEFINE_string("accelerator", None, "the TPU type, such as tpu-v5p-slice; without it, GPUs are used")
  flags.DEFINE_string("topology", None, "the topology of the TPU slice, such as 4x4x4")
  flags.DEFINE_integer("slices", 1, "the number of TPU slices, each of which is a node pool", lower_bound=1)
  flags.DEFINE_boolean("spot", False, "use cheaper nodes that may be preempted at any time (GKE)")
  flags.DEFINE_string("volume", None, "the claim of a volume shared by all pods, and its mount path: <claim>:<path>; "
                      "not needed if the workdir is in a bucket")
  flags.DEFINE_integer("restarts", 100, "the maximum number of restarts", lower_bound=0)
  pods.define_flags("print the manifest without applying it")


if __name__ == "__main__":
  define_flags()
  pods.start(main)
