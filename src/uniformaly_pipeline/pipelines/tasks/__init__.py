"""The tasks of the paper as pipelines: the same stages, put together for each task.

A module a task; each offers ``create(run)``. What differs between tasks is which images a category
has and what happens after scoring (DESIGN "The idea in one picture").
"""
