"""From a bank to scores: of patches and of images, and anomaly maps (paper section 4.2)."""
