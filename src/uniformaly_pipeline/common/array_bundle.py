"""Named arrays with a description, as one artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ArrayBundle:
    """Arrays and what to know of them; a memory bank and patch scores are stored as one.

    Attributes:
        arrays: Arrays by name.
        metadata: Plain values that JSON can hold.
    """

    arrays: Mapping[str, np.ndarray]
    metadata: Mapping[str, Any] = field(default_factory=dict)
