"""Submits a command of this library to Kubernetes (GKE, or any cluster with JobSet), one process per pod.

  python -m launch.on_kubernetes --name=run1 --image=<image> --processes=16 --chips=4 --topology=4x4x4 \\
      --accelerator=tpu-v5p-slice --volume=<claim>:/shared -- \\
      python -m launch.train --config=<recipe> --workdir=/shared/run1
  python -m launch.on_kubernetes ... --dry_run -- ...      prints the manifest only

If a pod is preempted or asks to be requeued, the job set restarts, and the run resumes from its workdir. The manifest
is JSON, which kubectl accepts like YAML. GKE tells TPU pods their coordinator; for other pods it is the first pod, by
the name that the job set gives it.
"""

import json
import subprocess
from typing import Any, Sequence

from absl import app, flags

from launch import command_line, pods

_GROUP = "process"  # the name of the replicated job
_PORT = 8476


def manifest(command: Sequence[str], *, name: str, image: str | None, processes: int, chips: int,
             accelerator: str | None, topology: str | None, volume: str | None, restarts: int) -> dict[str, Any]:
  """Returns the job set.

  Raises:
    ValueError: if the image or the command is missing, a TPU type is given without its topology, or the volume is not
      `<claim>:<path>`.
  """
  if not image:
    raise ValueError("no container image is named; give --image=<image> with metajax installed in it.")
  if bool(accelerator) != bool(topology):
    raise ValueError("a TPU slice needs both --accelerator=<type> and --topology=<shape>.")
  resource = "google.com/tpu" if accelerator else "nvidia.com/gpu"
  meet = "auto" if accelerator else f"{name}-{_GROUP}-0-0.{name}:{_PORT},{processes},$(PROCESS)"
  container: dict[str, Any] = {
      "name": "metajax", "image": image,
      "command": ["python", "-m", *pods.as_module(command), f"--hosts={meet}"],
      "env": [{"name": "PROCESS", "valueFrom": {"fieldRef": {
          "fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}}],
      "resources": {"limits": {resource: chips}}}
  # A run that is asked to stop finishes its dispatch and saves before it exits.
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
  """Defines the flags of this command, whose names other commands use too."""
  flags.DEFINE_string("name", "metajax", "the name of the job set")
  flags.DEFINE_string("image", None, "a container image with metajax installed; required")
  flags.DEFINE_integer("processes", 1, "the number of pods", lower_bound=1)
  flags.DEFINE_integer("chips", 4, "TPU chips, or GPUs, per pod", lower_bound=1)
  flags.DEFINE_string("accelerator", None, "the TPU type, such as tpu-v5p-slice; without it, GPUs are used")
  flags.DEFINE_string("topology", None, "the topology of the TPU slice, such as 4x4x4")
  flags.DEFINE_string("volume", None, "the claim of a volume shared by all pods, and its mount path: <claim>:<path>")
  flags.DEFINE_integer("restarts", 100, "the maximum number of restarts", lower_bound=0)
  flags.DEFINE_boolean("dry_run", False, "print the manifest without applying it")


if __name__ == "__main__":
  define_flags()
  app.run(main)
