"""Pre-training of the small quick-start backbone: data, recipe, export, evaluation."""
