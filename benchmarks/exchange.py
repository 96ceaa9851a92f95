"""One request as bytes, and what its answer must be. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import orjson

Array = npt.NDArray[np.generic]
HEADER_LENGTH = "Inference-Header-Content-Length"


class Check(Protocol):
    """Knows the right answer."""

    def __call__(self, head: Mapping[str, str], body: bytes) -> bool:
        """Whether an answer with these headers (names in lower case) is the right one."""


@dataclass(frozen=True, slots=True)
class SameBytes:
    """The answer is exactly these bytes."""

    body: bytes

    def __call__(self, head: Mapping[str, str], body: bytes) -> bool:
        """Compare byte by byte."""
        return body == self.body


@dataclass(frozen=True, slots=True)
class SameOutputs:
    """The answer is a v2 response with these outputs, up to `tolerance`."""

    outputs: Mapping[str, Array]
    tolerance: float = 0.0

    def __call__(self, head: Mapping[str, str], body: bytes) -> bool:
        """Read the answer and compare each output."""
        try:
            found = read_outputs(head, body)
        except (ValueError, KeyError):
            return False
        return found.keys() == self.outputs.keys() and all(
            array.shape == self.outputs[name].shape
            and np.allclose(array, self.outputs[name], rtol=0, atol=self.tolerance)
            for name, array in found.items()
        )


@dataclass(frozen=True, slots=True)
class Exchange:
    """A POST and the check of its answer."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    check: Check = field(repr=False)

    def request(self, host: str) -> bytes:
        """Return the whole request as it goes over the wire."""
        headers = {"Host": host, "Content-Length": str(len(self.body)), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


DATATYPES: Mapping[str, str] = {"INT32": "<i4", "FP32": "<f4"}
NAMES = {np.dtype(code): name for name, code in DATATYPES.items()}


def binary_body(inputs: Mapping[str, Array], outputs: Sequence[str]) -> tuple[bytes, int]:
    """Return a v2 request body with binary tensors that asks for binary outputs, and its JSON's length."""
    document = {
        "inputs": [
            {
                "name": name,
                "shape": array.shape,
                "datatype": NAMES[array.dtype],
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in inputs.items()
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
    }
    json = orjson.dumps(document)
    return json + b"".join(array.tobytes() for array in inputs.values()), len(json)


def json_body(inputs: Mapping[str, Array]) -> bytes:
    """Return a v2 request body that is JSON alone, and asks for nothing else."""
    return orjson.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": array.shape,
                    "datatype": NAMES[array.dtype],
                    "data": array.ravel().tolist(),
                }
                for name, array in inputs.items()
            ]
        }
    )


def read_outputs(head: Mapping[str, str], body: bytes) -> dict[str, Array]:
    """Return the outputs of a v2 response.

    Raises:
        ValueError: it is no such response.
        KeyError: it lacks a field.
    """
    position = int(head.get(HEADER_LENGTH.lower(), len(body)))
    outputs: dict[str, Array] = {}
    for entry in orjson.loads(body[:position])["outputs"]:
        dtype = np.dtype(DATATYPES[entry["datatype"]])
        if "data" in entry:
            array = np.array(entry["data"], dtype)
        else:
            size = entry["parameters"]["binary_data_size"]
            array = np.frombuffer(body[position : position + size], dtype)
            position += size
        outputs[entry["name"]] = array.reshape(entry["shape"])
    return outputs
