"""The program `mobilens`: where it is, and what it says."""
import json
import os
import shutil
import subprocess
from pathlib import Path

from .data import DataError

ROOT = Path(__file__).resolve().parents[2]


class ProgramFailed(RuntimeError):
    """A command of the program ended with an error; the message is the program's."""


def find_program(given=None):
    """The program's path, or None."""
    if given:
        if not Path(given).is_file():
            raise DataError(f"--mobilens {given}: no such file")
        return Path(given).resolve()
    on_path = shutil.which("mobilens")
    for path in ([Path(on_path)] if on_path else []) + [ROOT / "target" / kind / "mobilens" for kind in ("release", "debug")]:
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def call(program, *arguments):
    """What the program prints."""
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise ProgramFailed(f"mobilens {arguments[0]} ended with exit code {done.returncode}: " + " / ".join(said))
    return done.stdout


def share_on_kernels(program, onnx_file):
    """Share of the multiplications that run on the program's own kernels, and the layers that do not."""
    report = json.loads(call(program, "inspect", onnx_file, "--json"))
    macs = sum(total["macs"] for total in report["totals"])
    own = sum(total["macs"] for total in report["totals"] if total["runs_on"] != "tract")
    others = [f"{layer['name']} ({layer['operator']})" for layer in report["layers"] if layer["runs_on"] == "tract"]
    return own / max(macs, 1), others
