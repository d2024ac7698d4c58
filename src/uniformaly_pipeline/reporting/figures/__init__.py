"""Pictures of numbers, and of images."""
