"""The laboratory: recipes run, compared, replayed and reported."""
