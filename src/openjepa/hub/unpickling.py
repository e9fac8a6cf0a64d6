"""A process that takes the tensors out of a pickled checkpoint on standard input, and can do nothing else.

It is run by `hub.pickled`, on its own, and imports nothing of this library. Before the file is looked at, the process
gives up opening files, sockets and processes; what it has left are its standard streams. `torch.load` with
`weights_only` then reads tensors and plain containers, and refuses all else.
"""

import io
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import torch

TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""As safetensors writes them."""
OPTIMISERS = ("opt", "optimizer", "scaler")
"""Parts of a training's checkpoint that are no network."""


def main() -> None:
    """Standard input, a pickled checkpoint, to standard output, safetensors."""
    torch.set_num_threads(1)
    for zipped in (True, False):  # whatever Python imports on the way is imported before the doors are closed
        like = io.BytesIO()
        torch.save({"a": {"b": torch.zeros(1)}}, like, _use_new_zipfile_serialization=zipped)
        like.seek(0)
        torch.load(like, map_location="cpu", weights_only=True)
    close_doors()
    saved = torch.load(sys.stdin.buffer, map_location="cpu", weights_only=True)
    write(dict(tensors_in(saved)), sys.stdout.buffer)


def close_doors() -> None:
    """No file, socket or process can be opened from here on; what is open stays so."""
    import resource

    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))


def tensors_in(saved: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors by their dotted names, without those of optimisers."""
    for name, value in saved.items() if isinstance(saved, Mapping) else ():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value.detach()
        elif not (prefix == "" and name in OPTIMISERS):
            yield from tensors_in(value, f"{prefix}{name}.")


def write(tensors: Mapping[str, torch.Tensor], file: BinaryIO) -> None:
    """The format of safetensors, one tensor in memory beside those that were read."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        if tensor.dtype not in TYPES:
            raise ValueError(f"{name} is of type {tensor.dtype}")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        known = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        header[name] = known
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    file.flush()


if __name__ == "__main__":
    main()
