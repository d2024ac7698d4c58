"""From a root to a manifest: where a data set lies, how it is laid out, what is in it."""
