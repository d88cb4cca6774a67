"""The compiled step, the loop, and the task axis over devices."""
