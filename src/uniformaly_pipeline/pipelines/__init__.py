"""Stages and tasks: thin nodes around the domain code, one folder a stage, put together by task."""
