"""Reads PyTorch checkpoints without PyTorch: the file that `torch.save` wrote before version 1.6.

Such a file is a sequence of pickles (a magic number, the protocol, the system, the state dict, the
keys of its storages) and then the storages' values. Only the classes that a state dict consists of
are let in, so that a file cannot run code.
"""
import io
import pickle
from collections import OrderedDict

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4"}


class Tensor:
    """A part of a storage; its values come after the pickles."""

    def __init__(self, storage, offset, shape, strides, *_):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self):
        values = self.storage["values"][self.offset:]
        strides = [s * values.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(values, self.shape, strides).copy()


class Unpickler(pickle.Unpickler):
    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        known = {("collections", "OrderedDict"): OrderedDict,
                 ("torch._utils", "_rebuild_tensor_v2"): Tensor}
        if module == "torch" and name in DTYPES:
            return name
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a state dict")
        return known[module, name]

    def persistent_load(self, reference):
        kind, storage, key, _location, count, _view = reference
        assert kind == "storage", kind
        return self.storages.setdefault(key, dict(dtype=DTYPES[storage], count=count))


def state_dict(path):
    """The arrays of a checkpoint by name."""
    file = io.BytesIO(path.read_bytes())
    if pickle.load(file) != MAGIC:
        raise SystemExit(f"{path.name}: no checkpoint of torch.save's first format")
    pickle.load(file), pickle.load(file)  # protocol, system
    storages = {}
    tensors = Unpickler(file, storages).load()
    for key in pickle.load(file):
        storage = storages[key]
        count = int.from_bytes(file.read(8), "little")
        assert count == storage["count"], key
        dtype = np.dtype(storage["dtype"])
        storage["values"] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return {name: tensor.array() for name, tensor in tensors.items()}
