"""From normal patch features to a memory bank, and the search for nearest vectors in it."""
