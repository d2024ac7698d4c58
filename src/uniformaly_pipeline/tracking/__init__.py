"""Runs in MLflow: written, and compared."""
