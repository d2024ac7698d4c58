"""From scores to metrics: of images, pixels, clusters and settings, beside the paper's."""
