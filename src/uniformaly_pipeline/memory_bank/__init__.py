"""From features to a bank: normal patches, thinned to a coreset, and the search among them."""
