"""The stages of a run: thin nodes around the domain code, one package a stage."""
