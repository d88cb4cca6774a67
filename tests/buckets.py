"""Local emulators of S3 and of Google Cloud Storage, as packages of PyPI ship them."""

import contextlib
import os
import subprocess
import sys
import time
from typing import Iterator
import urllib.request

import fsspec

from launch.local_pod import free_address

# What boto3 wants to know even if the emulator does not look at it.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def s3() -> Iterator[dict[str, str]]:
  """Runs an emulator of S3 with the bucket `runs`; yields the environment in which programs use it."""
  address = free_address()
  port = address.rpartition(":")[2]
  with _running([sys.executable, "-m", "moto.server", "-p", port], f"http://{address}/moto-api/"):
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # one that knows the address of an earlier emulator
    urllib.request.urlopen(urllib.request.Request(f"http://{address}/runs", method="PUT"), timeout=10).close()
    yield {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{address}"}


@contextlib.contextmanager
def gcs() -> Iterator[dict[str, str]]:
  """Runs an emulator of Google Cloud Storage with the bucket `runs`; yields the environment, as `s3`."""
  address = free_address()
  host, _, port = address.rpartition(":")
  command = os.path.join(os.path.dirname(sys.executable), "gcp-storage-emulator")
  with _running([command, "start", f"--host={host}", f"--port={port}", "--in-memory", "--default-bucket=runs"],
                f"http://{address}/storage/v1/b/runs"):
    fsspec.get_filesystem_class("gs").clear_instance_cache()
    yield {"STORAGE_EMULATOR_HOST": f"http://{address}"}


@contextlib.contextmanager
def _running(command: list[str], asked: str) -> Iterator[None]:
  """Runs a server, from when it answers a request."""
  server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  try:
    until = time.monotonic() + 60
    while True:
      try:
        urllib.request.urlopen(asked, timeout=5).close()
        break
      except OSError:
        if server.poll() is not None or time.monotonic() > until:
          raise RuntimeError(f"{command[0]} does not answer at {asked}") from None
        time.sleep(0.2)
    yield
  finally:
    server.kill()
    server.wait()
