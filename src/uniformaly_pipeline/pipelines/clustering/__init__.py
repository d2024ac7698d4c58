"""From scores to groups of test images."""
