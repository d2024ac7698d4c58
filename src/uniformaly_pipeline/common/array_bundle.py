"""Named arrays with a description, as one artifact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors.numpy import load, save

_METADATA_KEY = "metadata"


@dataclass(frozen=True)
class ArrayBundle:
    """Arrays and what to know of them; a memory bank and patch scores are stored as one.

    Attributes:
        arrays: Arrays by name.
        metadata: Plain values that JSON can hold.
    """

    arrays: Mapping[str, np.ndarray]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The bundle as the content of a ``.safetensors`` file."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        content: bytes = save(arrays, {_METADATA_KEY: json.dumps(dict(self.metadata))})
        return content

    @classmethod
    def from_bytes(cls, content: bytes) -> ArrayBundle:
        """The bundle that :meth:`to_bytes` wrote.

        Raises:
            safetensors.SafetensorError: The content is damaged.
        """
        arrays = load(content)
        header_size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + header_size]).get("__metadata__", {})
        return cls(arrays, json.loads(header.get(_METADATA_KEY, "{}")))


def describe_array(array: np.ndarray) -> dict[str, Any]:
    """What tells whether an array is still what was written: type, shape and SHA-256."""
    digest = hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": digest.hexdigest()}
