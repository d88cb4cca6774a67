"""Parses the command of a pod, as `launch.pod_checks.check` does in a process of its own, for tests.launch.forks."""

from launch import pod_checks

if __name__ == "__main__":
  pod_checks.parse()
