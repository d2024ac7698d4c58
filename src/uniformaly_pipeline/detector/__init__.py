"""The portable detector: fit, load, judge new images by threshold, p-value and evidence."""
