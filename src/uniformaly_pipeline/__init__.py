"""Visual anomaly detection with one training-free method for every task (arXiv 2307.12540)."""

__version__ = "0.1.0"
