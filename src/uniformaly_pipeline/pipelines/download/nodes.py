"""Nodes of the download stage."""

from __future__ import annotations

import logging

from uniformaly_pipeline.ingestion.download.sources import Provision, find_provision

logger = logging.getLogger(__name__)


def choose_provision(layout: str) -> Provision:
    """Where a published data set comes from; its terms are logged before anything is fetched.

    Raises:
        InputError: It is not a published one.
    """
    provision = find_provision(layout)
    logger.warning("Licence: %s. Published at %s", provision.licence, provision.page)
    return provision
