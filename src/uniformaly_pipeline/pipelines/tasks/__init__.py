"""The tasks of the paper as pipelines: the same stages, put together for each task.

``plan.py`` says what each task is about, ``assembly.py`` how stages are put together, and a module
a task offers ``create(run)``. What differs between tasks is which images a category has and what
happens after scoring.
"""
