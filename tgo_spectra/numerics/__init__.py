"""Compiled loops, and products whose bits no number of threads changes."""
