"""Many settings of the method on the same features."""
