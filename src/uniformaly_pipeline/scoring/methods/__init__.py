"""Ways to tell anomalous from normal by the same features: ``scoring.method``, a module each."""
