"""Ask a gRPC server every case and keep its answers as data.

From the root of the project, against a server that serves the models of tests/conformance/models.py:

    python -m tests.rpc.record 127.0.0.1:18001 tests/rpc/golden.json

`golden.json` came from the real Triton 2.51 (CPU build, Python backend, `--exit-on-error=false`
`--disable-auto-complete-config`).
"""

import json
import sys
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2 as pb

from .cases import CASES, Case

Answer = dict[str, Any]


def ask(channel: Any, case: Case) -> Answer:
    """Return the messages that answer `case`, and the status at their end."""
    call = channel.stream_stream(f"/inference.GRPCInferenceService/{case.method}")
    messages: list[Any] = []
    try:
        answers = call(iter(case.messages), timeout=10, metadata=case.metadata)
        messages.extend(described(case.method, answer) for answer in answers)
    except grpc.RpcError as error:
        return {"status": error.code().name, "details": error.details(), "messages": messages}
    return {"status": "OK", "messages": messages}


def described(method: str, message: bytes) -> Any:
    kind = {"ModelStreamInfer": "ModelStreamInferResponse"}.get(method, f"{method}Response")
    return MessageToDict(getattr(pb, kind).FromString(message), preserving_proto_field_name=True)


def main(target: str, path: str) -> None:
    with grpc.insecure_channel(target) as channel:
        answers = {case.name: ask(channel, case) for case in CASES}
    Path(path).write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
