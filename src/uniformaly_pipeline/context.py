"""The project's context: it publishes the run's parameters before anything is built."""

from __future__ import annotations

from typing import Any

from kedro.framework.context import KedroContext

from uniformaly_pipeline.common.errors import CommandError, InputError
from uniformaly_pipeline.parameters import current_run


class PublishingContext(KedroContext):
    """A context whose parameters decide which pipelines and paths there are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Check and publish the parameters; ``self.params`` would load the pipelines too early.

        Raises:
            CommandError: The parameters are not usable.
        """
        super().__init__(*args, **kwargs)
        try:
            run = current_run.publish(
                self.config_loader["parameters"],
                self.project_path,
                self._runtime_params,
                self.env,
                self._get_config_credentials(),
            )
        except InputError as error:
            raise CommandError(str(error)) from error
        # Nodes and trackers see checked values with every default filled in.
        self.config_loader["parameters"] = run.parameters.resolved()
