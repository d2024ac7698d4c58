"""From images to features: preprocessing, backbone, masking, and the store on disk."""
