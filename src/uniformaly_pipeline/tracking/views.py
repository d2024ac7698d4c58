"""Tables of MLflow's own pages, saved with the experiment, and the address that opens one.

``python -m uniformaly_pipeline.tracking.views`` prints the address of all runs, as ``make mlflow``
does.
"""

from __future__ import annotations

import json
from typing import Any

import click

from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.common.secrets import without_secrets
from uniformaly_pipeline.evaluation.metrics import BRIEF_COSTS, BRIEF_METRICS, CLUSTER_METRICS
from uniformaly_pipeline.tracking.runs import CATEGORY_TAG, SETTING_TAG

VIEW_TAG = "mlflow.sharedViewState."
COLUMN_PX = 90
LOCAL_ADDRESS = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` serves."""

DETECTION = [name for name in BRIEF_METRICS if name not in CLUSTER_METRICS]
# The name of a run, which is pinned at the left, says what it is.
COLUMNS = [
    *(f"metrics.`{name}`" for name in DETECTION),
    *(f"tags.`{tag}`" for tag in ("bpm", "top_k_ratio", "coreset_ratio", "seed")),
    *(f"tags.`{tag}`" for tag in ("task", "dataset", "backbone", "run_key")),
    *(f"metrics.`{name}`" for name in BRIEF_METRICS if name in CLUSTER_METRICS),
    *(f"metrics.`{name}`" for name in BRIEF_COSTS),
    *(f"tags.`{tag}`" for tag in ("data_hash", "git_commit")),
]
VIEWS: dict[str, Any] = {
    "runs": {
        "name": "Compare runs",
        "only": f"tags.{CATEGORY_TAG} IS NULL AND tags.{SETTING_TAG} IS NULL",
        "columns": COLUMNS,
    },
    "categories": {
        "name": "Compare categories and settings",
        "only": "",
        "columns": [f"tags.`{CATEGORY_TAG}`", f"tags.`{SETTING_TAG}`", *COLUMNS],
    },
}
"""Saved views of the experiment by key, see :func:`view_address`."""


def save_views(run_id: str) -> None:
    """Put tables with the columns that matter into MLflow's menu "Views", unless they are there.

    Args:
        run_id: A run of the experiment.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment(client.get_run(run_id).info.experiment_id)
    for number, (key, view) in enumerate(VIEWS.items()):
        tag = f"{VIEW_TAG}{key}"
        if tag not in experiment.tags:
            # The menu lists the newest first.
            time = len(VIEWS) - number
            about = {"name": view["name"], "createdAt": time, "updatedAt": time}
            content = {**about, "state": json.dumps(_view_state(view["only"], view["columns"]))}
            client.set_experiment_tag(experiment.experiment_id, tag, json.dumps(content))


def view_address(tracking_uri: str, experiment_id: str, key: str = "runs") -> str:
    """The address of a saved view: on the tracking server, or where ``mlflow ui`` serves.

    >>> view_address("sqlite:///mlflow.db", "1")
    'http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=runs'
    """
    is_server = tracking_uri.startswith(("http://", "https://"))
    address = without_secrets(tracking_uri).rstrip("/") if is_server else LOCAL_ADDRESS
    return f"{address}/#/experiments/{experiment_id}/runs?viewStateShareKey={key}"


@click.command()
def main() -> None:
    """Print the address that shows all runs side by side, once ``mlflow ui`` serves it.

    Raises:
        CommandError: The runs are not to be had.
    """
    from uniformaly_pipeline.tracking.run_table import EXPERIMENT, client_of, reading_runs

    with reading_runs():
        client = client_of(None)
        experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise CommandError(f"there are no runs in {client.tracking_uri} yet: first kedro run")
    address = view_address(client.tracking_uri, experiment.experiment_id)
    click.echo(f"Open {address} (what the server prints is a welcome page)")


def _view_state(only: str, columns: list[str]) -> dict[str, Any]:
    """What MLflow's page of runs shows: filter, order and columns."""
    return {
        "searchFilter": only,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": ["attributes.`Created`", *columns],
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, COLUMN_PX),
    }


if __name__ == "__main__":
    main()
