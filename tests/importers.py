#!/usr/bin/env python3
"""The importers of models/import on small networks of many operators, against what TensorFlow made of them
(models/import/make_operators.py), and on bad files. Needs: pip install -r models/import/requirements-verify.txt.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parent.parent
IMPORT, DATA = ROOT / "models" / "import", ROOT / "tests" / "data" / "import"
TOLERANCE = 1e-5
OUTPUTS = [f"Identity_{i}" if i else "Identity" for i in range(5)]


def importer(script, *arguments):
    return subprocess.run([sys.executable, IMPORT / script, *map(str, arguments)], capture_output=True, text=True)


def frozen_graph(folder):
    target = folder / "operators.onnx"
    made = importer("from_tf_graph.py", DATA / "operators.pb", "-o", target, "--outputs", ",".join(OUTPUTS))
    assert made.returncode == 0, made.stderr
    golden, session = np.load(DATA / "operators.npz"), onnxruntime.InferenceSession(str(target))
    x = np.ascontiguousarray(golden["picture"].transpose(0, 3, 1, 2))
    for name, got in zip(OUTPUTS, session.run(OUTPUTS, {"picture": x})):
        expected = golden[name].transpose(0, 3, 1, 2) if golden[name].ndim == 4 else golden[name]
        off = np.abs(got - expected).max() / np.abs(expected).max()
        print(f"operators.pb {name}: {off:.1e} of the largest value off TensorFlow")
        assert off <= TOLERANCE, name


def bad_files(folder):
    lite, graph = (DATA / "operators.tflite").read_bytes(), (DATA / "operators.pb").read_bytes()
    files = {"cut.tflite": lite[:9000], "empty.tflite": b"", "graph.tflite": graph, "cut.pb": graph[:9000], "empty.pb": b"",
             "text.pb": b"no graph\n", "layers.json": json.dumps(dict(modelTopology={})).encode(), "text.json": b"no"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    scripts = {".tflite": "from_tflite.py", ".pb": "from_tf_graph.py", ".json": "from_tfjs.py"}
    asked = [(scripts[Path(name).suffix], folder / name, []) for name in [*files, "none.tflite", "none.pb", "none.json"]]
    operators = ("from_tf_graph.py", DATA / "operators.pb")
    asked += [(*operators, []), (*operators, ["--outputs", "nosuch"]), (*operators, ["--outputs", "Identity", "--input", "x"]),
              (*operators, ["--outputs", "Identity", "--shape", "1x32x48x4"]), (*operators, ["--shape", "1x0x2x3"])]
    for script, path, options in asked:
        if path.suffix == ".pb" and path.parent == folder:
            options = ["--outputs", "Identity"]
        target = folder / "none.onnx"
        made = importer(script, path, "-o", target, *options)
        lines = [line for line in made.stderr.splitlines() if not line.startswith(("usage:", " "))]
        assert made.returncode == 2 and len(lines) == 1, f"{script} {path.name} {options}: {made.returncode} {made.stderr}"
        assert not target.exists(), path.name
        print(f"{script} {path.name} {' '.join(options)}: {lines[0].replace(str(folder), '').replace(str(ROOT), '')}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        frozen_graph(Path(folder))
        bad_files(Path(folder))


if __name__ == "__main__":
    main()
