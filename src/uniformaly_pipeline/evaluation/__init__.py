"""From scores to metrics: of images, pixels, clusters, settings, and beside the paper's."""
