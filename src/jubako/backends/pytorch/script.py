"""TorchScript files: opened without unpickling anything, and looked into for what a call may touch.

A TorchScript archive is data and code in TorchScript's own language; a checkpoint of `torch.save` is a pickle, and
unpickling runs what its author wrote. Only the former is opened.
"""

import re
import threading
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import torch

from jubako.errors import Internal, InvalidArgument

WRITES_TENSOR: Final = re.compile(r"Tensor\(\w+!")
"""An argument that the operator writes to, in an operator's schema: `add_.Tensor(Tensor(a!) self, …`."""
OPAQUE: Final = frozenset({"prim::CallMethod", "prim::CallFunction", "prim::rpc_async"})
"""Calls that inlining could not see through."""

Memory = tuple[int, int]
"""Addresses: the first, and the one after the last."""

_loading = threading.Lock()


def open_script(model: str, path: Path, device: str | None) -> Any:
    """Return the module of the TorchScript archive at `path`, on `device` (None: where it was saved).

    Raises:
        InvalidArgument: the file is no TorchScript archive.
        Internal: it is one, but cannot be loaded.
    """
    if not _is_archive(path):
        raise InvalidArgument(
            f"failed to load model '{model}': '{path.name}' is not a TorchScript archive; pickled modules and "
            "checkpoints are never unpickled, save the module with torch.jit.save"
        )
    # torch deprecates TorchScript at each call; catch_warnings is the whole process's, so one at a time.
    with _loading, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise Internal(f"failed to load model '{model}': {first_line(error)}") from error
    return module.eval()


def writes_to_tensors(module: Any) -> bool:
    """Whether any operator of `forward` works in place: such a module might write to its inputs."""
    return any(node.kind() in OPAQUE or WRITES_TENSOR.search(node.schema()) for node in _nodes(module.inlined_graph))


def held_memory(module: Any) -> list[Memory]:
    """Return the memory that `module` keeps between calls and may return: buffers, parameters and constants.

    A result that lies in it changes when the module next does. Adjacent pieces are one: few are to be looked at.
    """
    constants = [
        node.t("value")
        for node in _nodes(module.inlined_graph)
        if node.kind() == "prim::Constant" and node.hasAttribute("value") and node.kindOf("value") == "t"
    ]
    tensors = [*module.parameters(), *module.buffers(), *constants]
    storages = [tensor.untyped_storage() for tensor in tensors]
    return _joined((storage.data_ptr(), storage.data_ptr() + storage.nbytes()) for storage in storages)


def memory(tensor: torch.Tensor) -> Memory:
    """Return where the elements of a contiguous `tensor` lie."""
    start = tensor.data_ptr()
    return start, start + tensor.nbytes


def _joined(pieces: Iterable[Memory]) -> list[Memory]:
    joined: list[Memory] = []
    for start, stop in sorted(pieces):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        elif start < stop:
            joined.append((start, stop))
    return joined


def first_line(error: Exception) -> str:
    """Return the first line of torch's message: what follows are C++ frames."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def last_line(error: Exception) -> str:
    """Return the last line of an error raised inside TorchScript: before it stands the author's traceback."""
    return next(iter(reversed(str(error).strip().splitlines())), type(error).__name__)


def _is_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    # <name>/constants.pkl and <name>/code/: a checkpoint of torch.save is a zip too, and has neither.
    return any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names)


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, or block, and of all that it nests."""
    for node in graph.nodes():
        yield node
        for block in node.blocks():
            yield from _nodes(block)
        if node.hasAttribute("Subgraph"):
            yield from _nodes(node.g("Subgraph"))
