"""The parameters of a run: checked, resolved, published."""
