#!/usr/bin/env python3
"""The segmentation pipeline that a user would otherwise write: OpenCV decodes and resizes, ONNX Runtime infers, numpy
takes the greatest class, JSON lines with each class's share come out.

    python3 benches/peer_segmentation.py MODEL.onnx CLIP.mp4 OUT.jsonl [--size 321] [--threads 2] [--coarse]

MODEL is a DeepLabv3 with raw logits [1, C, h, w] and an input in [-1, 1] [1, 3, H, W], which is rewritten to take
SIZE x SIZE pixels; the picture lies at its top left with its shape kept. The logits are interpolated to the frame's
size before the greatest is taken; with --coarse to the input's size only, and the labels enlarged (cheaper, and less
exact). Prints frames, seconds and frames per second, model loading not counted.
Needs: numpy, onnx, onnxruntime, opencv-python-headless.
"""
import argparse
import json
import time

import cv2
import numpy as np
import onnx
import onnxruntime as ort


def at_size(path, size):
    """The model's bytes with another input size; the shapes behind it follow."""
    model = onnx.load(path)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return model.SerializeToString()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("clip")
    p.add_argument("out")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--size", type=int, default=321)
    p.add_argument("--coarse", action="store_true")
    a = p.parse_args()
    cv2.setNumThreads(a.threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = a.threads
    net = ort.InferenceSession(at_size(a.model, a.size), options, providers=["CPUExecutionProvider"])
    entry, size = net.get_inputs()[0], a.size
    cap = cv2.VideoCapture(a.clip)
    out = open(a.out, "w")
    n, start = 0, time.perf_counter()
    while True:
        ok, frame = cap.read()
        if not ok:
            break
        h, w = frame.shape[:2]
        scale = size / max(h, w)
        rh, rw = round(h * scale), round(w * scale)
        x = np.zeros((1, 3, size, size), np.float32)
        small = cv2.resize(frame, (rw, rh))[:, :, ::-1]
        x[0, :, :rh, :rw] = (small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)
        logits = net.run(None, {entry.name: x})[0][0].transpose(1, 2, 0)
        # The part of the logits that the picture covers.
        cells = logits.shape[0] / size
        logits = np.ascontiguousarray(logits[: max(1, round(rh * cells)), : max(1, round(rw * cells))])
        if a.coarse:
            labels = cv2.resize(logits, (rw, rh), interpolation=cv2.INTER_LINEAR).argmax(2).astype(np.uint8)
            mask = cv2.resize(labels, (w, h), interpolation=cv2.INTER_NEAREST)
        else:
            mask = cv2.resize(logits, (w, h), interpolation=cv2.INTER_LINEAR).argmax(2)
        counts = np.bincount(mask.ravel(), minlength=logits.shape[2])
        shares = {int(c): round(int(counts[c]) / mask.size, 6) for c in np.flatnonzero(counts)}
        out.write(json.dumps(dict(frame=n, pts_ms=round(cap.get(cv2.CAP_PROP_POS_MSEC), 3), shares=shares)) + "\n")
        n += 1
    seconds = time.perf_counter() - start
    print(f"{n} frames {seconds:.2f} s {n / seconds:.1f} frames/s")


if __name__ == "__main__":
    main()
