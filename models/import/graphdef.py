"""Reads TensorFlow's GraphDef (a frozen graph, TensorFlow 1) without TensorFlow: protocol buffers' wire format.

Field numbers are those of tensorflow/core/framework: graph.proto, node_def.proto, attr_value.proto, tensor.proto,
tensor_shape.proto and types.proto.
"""
import struct

import numpy as np

from builder import NotKnown
from tfjs import TfModel

DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 9: np.int64, 10: np.bool_,
          19: np.float16}


def varint(data, at):
    result = shift = 0
    while True:
        if at >= len(data):
            raise NotKnown("cut off or not a frozen graph (GraphDef)")
        byte = data[at]
        at += 1
        result |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return result, at


def fields(data):
    """Number and value of each field: an integer, or the bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = bytes(data[at:at + size]), at + size
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            raise NotKnown("not a frozen graph (GraphDef)")
        if at > len(data):
            raise NotKnown("cut off or not a frozen graph (GraphDef)")
        yield number, value


def signed(value):
    return value - (1 << 64) if value >= 1 << 63 else value


def integers(value):
    """A repeated integer, packed or not."""
    if isinstance(value, int):
        return [signed(value)]
    result, at = [], 0
    while at < len(value):
        one, at = varint(value, at)
        result.append(signed(one))
    return result


def shape(data):
    """Sizes; -1 where one is not fixed, none where not even their number is."""
    sizes = []
    for number, value in fields(data):
        if number == 3 and value:
            return None
        if number == 2:
            sizes.append(next((signed(v) for n, v in fields(value) if n == 1), 0))
    return sizes


def tensor(data):
    kind, sizes, content, values = np.float32, [], None, []
    for number, value in fields(data):
        if number == 1:
            if value not in DTYPES:
                return None
            kind = DTYPES[value]
        elif number == 2:
            sizes = shape(value)
        elif number == 4:
            content = bytes(value)
        elif number == 5:
            values += struct.unpack(f"<{len(value) // 4}f", bytes(value))
        elif number == 6:
            values += struct.unpack(f"<{len(value) // 8}d", bytes(value))
        elif number in (7, 10, 11):
            values += integers(value)
        elif number == 13:
            values += np.array(integers(value), np.uint16).view(np.float16).tolist()
    if content is not None and len(content):
        return np.frombuffer(content, kind).reshape(sizes)
    if not values:
        return np.zeros(sizes, kind)
    # What is missing at the end repeats the last value.
    count = int(np.prod(sizes, dtype=np.int64))
    return np.array(values + values[-1:] * (count - len(values)), kind)[:max(count, 0)].reshape(sizes)


def attribute(data):
    for number, value in fields(data):
        if number == 1:
            made = dict(i=[], s=[], f=[])
            for n, v in fields(value):
                if n == 3:
                    made["i"] += integers(v)
                elif n == 2:
                    made["s"].append(bytes(v))
            return {"list": {k: v for k, v in made.items() if v}}
        key = {2: "s", 3: "i", 4: "f", 5: "b", 6: "type", 7: "shape", 8: "tensor"}.get(number)
        if key == "s":
            return {"s": list(bytes(value))}
        if key == "f":
            return {"f": struct.unpack("<f", value)[0]}
        if key == "i":
            return {"i": signed(value)}
        if key == "b":
            return {"b": bool(value)}
        if key == "shape":
            return {"dims": shape(value)}
        if key == "tensor":
            return {"tensor": tensor(value)}
        return {key: value}
    return {}


class FrozenGraph(TfModel):
    """Nodes by name, and the constants' values, as TfjsModel has them."""

    def __init__(self, data):
        super().__init__({}, {})
        for number, value in fields(memoryview(data)):
            if number != 1:
                continue
            node = dict(name="", op="", input=[], attr={})
            for n, v in fields(value):
                if n == 5:
                    pair = dict(fields(v))
                    node["attr"][bytes(pair[1]).decode()] = attribute(pair.get(2, b""))
                elif n in (1, 2):
                    node["name" if n == 1 else "op"] = bytes(v).decode()
                elif n == 3:
                    node["input"].append(bytes(v).decode())
            self.nodes[node["name"]] = node
            if node["op"] == "Const":
                self.constants[node["name"]] = node["attr"].get("value", {}).get("tensor")
        if not self.nodes:
            raise NotKnown("not a frozen graph (GraphDef): it has no nodes")
