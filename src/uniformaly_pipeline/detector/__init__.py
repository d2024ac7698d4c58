"""Decisions about new images: threshold, p-value, evidence."""
