"""Where the files lie that a pipeline reads and writes, by its catalog."""

from __future__ import annotations

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline


def places_of(pipeline: Pipeline, catalog: CatalogProtocol) -> tuple[set[str], set[str]]:
    """Paths and URLs of a pipeline's files.

    Returns:
        Those that are read and written, and the roots that are only read.
    """
    paths, roots, made = set[str](), set[str](), pipeline.all_outputs()
    for name in pipeline.datasets():
        dataset = catalog.get(name)
        if (root := getattr(dataset, "root", None)) is not None:
            (paths if name in made else roots).add(root)
        elif (places := getattr(dataset, "paths", None)) is not None:
            paths.update(places())
    return paths, roots
