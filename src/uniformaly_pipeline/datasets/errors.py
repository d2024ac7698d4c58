"""Bad input found while reading or writing."""

from kedro.io import DatasetError

from uniformaly_pipeline.common.errors import InputError


class DatasetInputError(DatasetError, InputError):
    """An input error that Kedro passes on as it is; it wraps others in a message of its own."""
