"""From images to a manifest: where a data set lies, how it is laid out, whether it is sound."""
