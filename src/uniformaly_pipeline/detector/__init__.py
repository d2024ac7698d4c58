"""Decisions on new images: threshold, p-value, evidence."""
