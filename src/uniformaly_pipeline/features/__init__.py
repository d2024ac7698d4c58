"""From an image to patch features: preprocessing, backbone, masking, feature store."""
