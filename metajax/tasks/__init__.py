"""Task distributions: pure, compiled draws of one task."""
