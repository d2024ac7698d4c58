"""A published data set from its publishers to disk."""
