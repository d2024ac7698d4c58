"""Measurements of speed and memory; see docs/benchmarks.md."""
