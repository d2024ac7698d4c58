"""From a memory bank to patch scores, image scores and anomaly maps (paper section 4.2)."""
