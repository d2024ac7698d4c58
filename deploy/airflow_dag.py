"""An Airflow DAG: the features, then each category as a task of its own, then the results.

``parts.json`` is what ``python -m uniformaly_pipeline.pipelines.groups defect`` printed, beside
this file: a scheduler reads its DAGs again and again, and should not build a pipeline each time.
"""

import json
from datetime import datetime
from pathlib import Path

from airflow import DAG
from airflow.operators.bash import BashOperator

PROJECT = "/srv/inspection"
"""Where conf/ lies, the same on every worker."""

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
