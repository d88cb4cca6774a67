"""Submits a command of ours to Kubernetes (GKE, or any cluster with JobSet), one process a pod.

  python -m launch.on_kubernetes --name=run1 --image=<image> --processes=16 --chips=4 --topology=4x4x4 \\
      --accelerator=tpu-v5p-slice --volume=<claim>:/shared -- \\
      python -m launch.train --config=<recipe> --workdir=/shared/run1
  python -m launch.on_kubernetes ... --dry_run -- ...      prints the manifest it would apply

A pod that is preempted, or that asks to be queued again, makes the job set start over, and the run goes on from its
workdir. The manifest is JSON, which kubectl takes as it does YAML. TPU pods are told by GKE where they meet; the others
meet at the first pod, by the name that the job set gives it.
"""

import json
import subprocess
from typing import Any, Sequence

from absl import app, flags

from launch import command_line, pods

_GROUP = "process"  # the name of the pods among the job set's
_PORT = 8476


def manifest(command: Sequence[str], *, name: str, image: str | None, processes: int, chips: int,
             accelerator: str | None, topology: str | None, volume: str | None, restarts: int) -> dict[str, Any]:
  """Returns the job set.

  Raises:
    ValueError: if the image or the command is missing, a TPU kind is given without its topology, or the volume is not
      `<claim>:<path>`.
  """
  if not image:
    raise ValueError("no container image is named; give --image=<image> with metajax installed in it.")
  if bool(accelerator) != bool(topology):
    raise ValueError("a TPU slice needs both --accelerator=<kind> and --topology=<shape>.")
  resource = "google.com/tpu" if accelerator else "nvidia.com/gpu"
  meet = "auto" if accelerator else f"{name}-{_GROUP}-0-0.{name}:{_PORT},{processes},$(PROCESS)"
  container: dict[str, Any] = {
      "name": "metajax", "image": image,
      "command": ["python", "-m", *pods.as_module(command), f"--hosts={meet}"],
      "env": [{"name": "PROCESS", "valueFrom": {"fieldRef": {
          "fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}}],
      "resources": {"limits": {resource: chips}}}
  # A run that was told to stop finishes its step and saves before it goes.
  pod: dict[str, Any] = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 120, "containers": [container]}
  if volume:
    claim, _, path = volume.partition(":")
    if not claim or not path.startswith("/"):
      raise ValueError(f"--volume must be <claim>:<path>, such as runs:/shared, but it is {volume}.")
    container["volumeMounts"] = [{"name": "shared", "mountPath": path}]
    pod["volumes"] = [{"name": "shared", "persistentVolumeClaim": {"claimName": claim}}]
  if accelerator:
    pod["nodeSelector"] = {"cloud.google.com/gke-tpu-accelerator": accelerator,
                           "cloud.google.com/gke-tpu-topology": topology}
  job = {"parallelism": processes, "completions": processes, "completionMode": "Indexed", "backoffLimit": 0,
         "template": {"spec": pod}}
  return {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": name},
          "spec": {"failurePolicy": {"maxRestarts": restarts},
                   "replicatedJobs": [{"name": _GROUP, "replicas": 1, "template": {"spec": job}}]}}


def main(arguments: list[str]) -> None:
  given = flags.FLAGS
  try:
    made = json.dumps(manifest(
        arguments[1:], name=given.name, image=given.image, processes=given.processes, chips=given.chips,
        accelerator=given.accelerator, topology=given.topology, volume=given.volume, restarts=given.restarts), indent=2)
  except ValueError as error:
    command_line.fail(str(error))
  if given.dry_run:
    print(made)
    return
  raise SystemExit(subprocess.run(["kubectl", "apply", "-f", "-"], input=made, text=True, check=False).returncode)


def define_flags() -> None:
  """Defines the flags of this command, which others share the names of."""
  flags.DEFINE_string("name", "metajax", "of the job set")
  flags.DEFINE_string("image", None, "a container image with metajax installed; it must be given")
  flags.DEFINE_integer("processes", 1, "how many pods", lower_bound=1)
  flags.DEFINE_integer("chips", 4, "TPU chips, or GPUs, of each pod", lower_bound=1)
  flags.DEFINE_string("accelerator", None, "the TPU kind, such as tpu-v5p-slice; without it, GPUs")
  flags.DEFINE_string("topology", None, "of the TPU slice, such as 4x4x4")
  flags.DEFINE_string("volume", None, "a claim on a volume that all pods share, and where they see it: <claim>:<path>")
  flags.DEFINE_integer("restarts", 100, "how often it may start over", lower_bound=0)
  flags.DEFINE_boolean("dry_run", False, "print what would be applied, and apply nothing")


if __name__ == "__main__":
  define_flags()
  app.run(main)
