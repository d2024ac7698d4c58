"""The parameters of a run: the schema that checks them, and the run they describe."""
