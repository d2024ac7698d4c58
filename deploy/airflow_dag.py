"""An Airflow DAG: the features, then each category as a task of its own, then the results.

``parts.json`` is what ``python -m uniformaly_pipeline.pipelines.groups defect`` printed, beside
this file (with ``--command=uniformaly-pipeline`` where workers have only the package and conf/): a
scheduler reads its DAGs again and again, and should not build a pipeline each time.
"""

import json
from datetime import datetime
from pathlib import Path

from airflow import DAG

try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # before Airflow 3
    from airflow.operators.bash import BashOperator

PROJECT = "/srv/inspection"
"""Where conf/ lies, the same on every worker: the project's folder for ``kedro run``,
/project in the image of deploy/Dockerfile for ``uniformaly-pipeline``."""

parts = json.loads(Path(__file__).with_name("parts.json").read_text(encoding="utf-8"))

with DAG("uniformaly", start_date=datetime(2026, 1, 1), schedule=None, catchup=False):
    tasks = {
        part["name"]: BashOperator(
            task_id=part["name"], bash_command=part["command"], cwd=PROJECT, retries=2
        )
        for part in parts
    }
    for part in parts:
        for name in part["needs"]:
            tasks[name] >> tasks[part["name"]]
