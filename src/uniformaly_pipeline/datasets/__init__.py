"""Kedro datasets: all reading and writing of a run."""
