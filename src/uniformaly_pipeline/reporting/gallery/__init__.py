"""Images with what the method made of them."""
