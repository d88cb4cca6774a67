"""launch.on_kubernetes: the manifest of a job set, and what Kubernetes would refuse."""

import json

import pytest

from launch import on_kubernetes

_TRAIN = ["python", "-m", "launch.train", "--config=a b.py"]
_SETTINGS = dict(name="run", image="i", processes=16, chips=4, accelerator="tpu-v5p-slice", topology="4x4x4",
                 volume="runs:/shared", restarts=3)
_GPUS = dict(_SETTINGS, accelerator=None, topology=None)
_SPOT = "cloud.google.com/gke-spot"


def _made(settings):
  """Returns a manifest, the spec of its job and that of its pod, after a passage through JSON."""
  made = json.loads(json.dumps(on_kubernetes.manifest(_TRAIN, **settings)))
  job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
  return made, job, job["template"]["spec"]


def test_a_slice():
  made, job, pod = _made(_SETTINGS)
  assert job["parallelism"] == job["completions"] == 16 and made["spec"]["failurePolicy"]["maxRestarts"] == 3
  container = pod["containers"][0]
  assert container["command"] == ["python", "-m", "launch.train", "--config=a b.py", "--hosts=auto"]
  assert container["resources"]["limits"] == {"google.com/tpu": 4}
  assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
  assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "runs"}
  assert made["spec"]["replicatedJobs"][0]["replicas"] == 1 and "annotations" not in made["metadata"]
  assert _SPOT not in pod["nodeSelector"] and "tolerations" not in pod


def test_several_slices_each_have_a_node_pool():
  made, job, _ = _made({**_SETTINGS, "slices": 3})
  assert made["spec"]["replicatedJobs"][0]["replicas"] == 3 and job["parallelism"] == job["completions"] == 16
  assert made["metadata"]["annotations"] == {
      "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}


def test_spot_nodes_are_chosen_and_tolerated():
  for settings in (_SETTINGS, _GPUS):
    pod = _made({**settings, "spot": True})[2]
    assert pod["nodeSelector"][_SPOT] == "true"
    assert pod["tolerations"] == [{"key": _SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}]
  assert pod["nodeSelector"] == {_SPOT: "true"}


def test_no_volume_is_needed():
  pod = _made({**_SETTINGS, "volume": None})[2]
  assert "volumes" not in pod and "volumeMounts" not in pod["containers"][0]


def test_gpus():
  container = _made(_GPUS)[2]["containers"][0]
  assert container["command"][-1] == "--hosts=run-process-0-0.run:8476,16,$(METAJAX_PROCESS)"
  assert container["resources"]["limits"] == {"nvidia.com/gpu": 4} and container["env"][0]["name"] == "METAJAX_PROCESS"


def test_kubernetes_expands_nothing_in_variables_and_commands():
  made = on_kubernetes.manifest(["launch.train", "--workdir=/a$(A)"], **_GPUS, variables={"A": "b $(PATH) $$ 'c'"})
  container = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]
  assert container["env"][0] == {"name": "A", "value": "b $$(PATH) $$$$ 'c'"}
  assert container["command"][3] == "--workdir=/a$$(A)"


@pytest.mark.bad_input
@pytest.mark.parametrize("settings, sentence", [
    ({"topology": None}, "needs both"), ({"accelerator": None}, "needs both"), ({"image": None}, "no container image"),
    ({"volume": "runs"}, "--volume must be <claim>:<path>"), ({"volume": ":/a"}, "--volume must be <claim>:<path>"),
    *(({"name": name}, f"--name={name} is not a name for Kubernetes")
      for name in ("", "Run", "run_1", "1run", "run-", "-run", "run.1", "run 1")),
    ({"name": "a" * 45}, "has 45 characters, .*; use 44 or fewer"),
    ({"name": "a" * 44, "slices": 11}, "use 43 or fewer"),
    *(({"topology": shape}, f"--topology={shape} is not the shape") for shape in ("4", "4x", "4x4x4x4", "0x4", "4X4")),
    ({"chips": 8}, "has 64 chips, but --processes=16 with --chips=8 need 128"),
    ({"processes": 8}, "with --chips=4 need 32"), ({"processes": 1, "chips": 65}, "with --chips=65 need 65"),
    ({"accelerator": None, "topology": None, "slices": 2}, "--slices=2 is for TPUs")])
def test_what_kubernetes_would_refuse(settings, sentence):
  with pytest.raises(ValueError, match=sentence):
    on_kubernetes.manifest(_TRAIN, **{**_SETTINGS, **settings})


def test_the_longest_name():
  on_kubernetes.manifest(_TRAIN, **{**_SETTINGS, "name": "a" * 44})
