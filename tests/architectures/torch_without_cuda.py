#!/usr/bin/env python3
"""Lets a torch from PyPI run on the CPU without the packages of CUDA.

    VENV/bin/pip install --no-deps torch
    VENV/bin/python torch_without_cuda.py

PyPI's Linux build of torch links to CUDA's libraries, several gigabytes in packages of their own. Where
they are missing, this puts libraries of their names beside torch's, whose functions all return
100, "no CUDA device". Needs gcc and binutils.
"""
import re
import subprocess
import sysconfig
import tempfile
from collections import defaultdict
from pathlib import Path

LIB = Path(sysconfig.get_paths()["purelib"]) / "torch" / "lib"
# What torch brings itself, or the system has.
PRESENT = re.compile(r"^(libc10|libtorch|libshm|libgomp|libgfortran|libcaffe2|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so|ld-linux)")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    libraries = sorted(path for path in LIB.glob("*.so") if path.is_file())
    libraries += sorted(LIB.parent.glob("_C.*.so"))
    needed, undefined, defined = set(), set(), set()
    library_of = {}  # by version node, such as libcudart.so.13
    for library in libraries:
        found = re.findall(r"\(NEEDED\).*\[(.+?)\]", output("readelf", "-dW", library))
        needed |= {name for name in found if not PRESENT.match(name)}
        for line in output("readelf", "-VW", library).splitlines():
            if file := re.search(r"File: (\S+)", line):
                wanted = file[1]
            elif (node := re.search(r"Name: (\S+) +Flags", line)) and wanted in needed:
                library_of[node[1]] = wanted
        for line in output("nm", "-D", library).splitlines():
            kind, symbol = line.split()[-2:]
            (undefined if kind == "U" else defined).add(symbol)
    names = {symbol.split("@")[0] for symbol in defined}
    # By version node; without one, any library will do.
    symbols = defaultdict(set)
    for symbol in undefined:
        name, _, version = symbol.partition("@")
        version = version.lstrip("@")
        c_name = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and not name.startswith("_Z")
        if name not in names and c_name and (version in library_of or (not version and re.match(r"_*(cu|nccl|nv)", name))):
            symbols[version].add(name)
    assert needed, f"{LIB}: no library of CUDA is needed"
    free = symbols.pop("", set())
    with tempfile.TemporaryDirectory() as folder:
        for index, library in enumerate(sorted(needed)):
            nodes = {node: symbols[node] for node in sorted(symbols) if library_of[node] == library}
            own = set().union(*nodes.values(), free if index == 0 else ())
            source, script = Path(folder, "stub.c"), Path(folder, "stub.map")
            source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in sorted(own)))
            script.write_text("".join(f"{node} {{ global: {'; '.join(sorted(names))}; }};\n" for node, names in nodes.items()))
            compile = ["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{library}"]
            versions = [f"-Wl,--version-script={script}"] if nodes else []
            subprocess.run([*compile, *versions, source, "-o", LIB / library], check=True)
    print(f"{LIB}: {len(needed)} libraries written")


if __name__ == "__main__":
    main()
