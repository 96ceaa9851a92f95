"""The trained networks as files that a server reads: ONNX and TorchScript.

Both are the same bytes at each making with the same torch, on any processor and in any folder. Another release of
torch may write another graph for the same weights.
"""

import io
import logging
import warnings
import zipfile
from functools import cache

import torch

from models.digits_network import trained
from models.onnx_file import model_file

OPSET = 18
"""The exporter's own: others are made by conversion."""


@cache
def onnx_file(width: int) -> bytes:
    """Return the network of `width` as ONNX: `IMAGE` `[batch, 1, 8, 8]` to `SCORES` `[batch, 10]`, batch variable."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision, which we lack, has operators
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of what torch deprecates
        program = torch.onnx.export(
            trained(width),
            (torch.zeros(2, 1, 8, 8),),  # two rows: an example of one would fix the batch to 1
            input_names=["IMAGE"],
            output_names=["SCORES"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return model_file(program.model_proto)


@cache
def torchscript_file(width: int) -> bytes:
    """Return the network of `width` as TorchScript: `[batch, 1, 8, 8]` to `[batch, 10]`, batch variable.

    Traced, not scripted: a script lists the layers' settings in the order of a Python set, another one in each process.
    """
    saved = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is, but Triton's pytorch backend reads it
        network = torch.jit.trace(trained(width), torch.zeros(2, 1, 8, 8))  # type: ignore[no-untyped-call]
        torch.jit.save(network, saved)
    return _without_origin(saved)


def _without_origin(archive: io.BytesIO) -> bytes:
    """Drop what torch can do without: positions in the source, which hold this machine's paths, and their hash."""
    cleaned = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(cleaned, "w") as new:
        for record in old.infolist():
            if not record.filename.endswith((".debug_pkl", "/.data/serialization_id")):
                new.writestr(zipfile.ZipInfo(record.filename), old.read(record))
    return cleaned.getvalue()
