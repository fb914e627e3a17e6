#!/usr/bin/env bash
# Tries what the documentation says.
#
#   tests/docs.sh [--quick] [BINARY]  (default: target/debug/mobilens; --quick: do not run the commands)
#
# - Links and anchors of all Markdown files resolve; README.md has fewer than 200 lines and links every
#   chapter; every subcommand is in the README.
# - The references of all keys are what `mobilens schema --markdown` prints; UPDATE_GOLDENS=1 writes them.
# - Blocks that begin with "```sh test" run with bash, in a copy of the checkout's pipelines, models and
#   assets, with `mobilens` on the path. The blocks of one page share a folder.
# - Blocks that begin with "```yaml" are checked by `mobilens check`: whole pipelines as they are, other
#   keys put into a pipeline that has the rest. "```yaml partial" is only read as YAML.
# - Lines of "```json" blocks are whole JSON; with jsonschema installed they are held to the records' schema.
#
# Needs python3 with pyyaml.
set -euo pipefail
cd "$(dirname "$0")/.."
quick=
if [ "${1:-}" = --quick ]; then
    quick=quick
    shift
fi
binary=$(realpath "${1:-${MOBILENS:-target/debug/mobilens}}")
exec python3 - "$binary" "$quick" <<'PYTHON'
import glob, html, json, os, pathlib, re, shutil, subprocess, sys, tempfile, time, urllib.parse

import yaml

ROOT = pathlib.Path.cwd()
BINARY = pathlib.Path(sys.argv[1])
QUICK = sys.argv[2] == "quick"
TIMEOUT_S = 120
FENCE = re.compile(r"^( *)(`{3,})\s*([^`]*)$")
DETECTOR = {
    "source": {"video": {"path": "../assets/street.mp4"}},
    "model": "../models/ssdlite_mobilenet_v2_coco.yaml",
    "track": {},
}
SEGMENTER = {
    "source": {"video": {"path": "../assets/street.mp4"}},
    "model": "../models/deeplabv3_mobilenet_v2_voc_os16.yaml",
}
CLASSIFIER = {
    "source": {"images": {"path": "../assets"}},
    "model": "../models/efficientnet_lite0_imagenet_int8.yaml",
}
# Pages that end with a generated reference, and the arguments that print it.
REFERENCES = {"docs/configuration.md": [], "docs/model-cards.md": ["--card"]}
faults = []


def fault(where, what):
    faults.append(f"{where}: {what}")
    print(f"FAULT {where}: {what}", flush=True)


def markdown_files():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], capture_output=True, text=True)
    if listed.returncode == 0:
        files = [pathlib.Path(line) for line in listed.stdout.split("\n") if line]
    else:
        files = [p.relative_to(ROOT) for p in ROOT.rglob("*.md") if "target" not in p.relative_to(ROOT).parts]
    return sorted(path for path in set(files) if path.is_file())


def split(text):
    """The prose, line by line (code blanked), and the fenced blocks: (first line, info, text)."""
    prose, blocks, fence = [], [], None
    for number, line in enumerate(text.split("\n"), 1):
        found = FENCE.match(line)
        if fence is None and found:
            fence = (found[2], number, found[3].strip(), len(found[1]), [])
            prose.append("")
        elif fence is not None and found and found[2].startswith(fence[0]) and not found[3].strip():
            blocks.append((fence[1], fence[2], "\n".join(fence[4]) + "\n"))
            fence = None
            prose.append("")
        elif fence is not None:
            fence[4].append(line[fence[3]:] if line[:fence[3]].isspace() else line)
            prose.append("")
        else:
            prose.append(line)
    if fence is not None:
        blocks.append((fence[1], "unclosed", ""))
    return prose, blocks


def anchors(prose):
    """The ids that code hosts give the headings, and those that are written out."""
    known, found = {}, set()
    for line in prose:
        found.update(re.findall(r'<a (?:id|name)="([^"]+)"', line))
        heading = re.match(r"^#{1,6}\s+(.*?)\s*#*$", line)
        if not heading:
            continue
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        text = re.sub(r"[`*]", "", html.unescape(text)).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        n = known.get(slug, 0)
        known[slug] = n + 1
        found.add(slug if n == 0 else f"{slug}-{n}")
    return found


def links(prose):
    text = "\n".join(prose)
    # Code spans hold no links.
    text = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    for found in re.finditer(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", text):
        yield text.count("\n", 0, found.start()) + 1, found[1]
    for found in re.finditer(r"^\[[^\]]+\]:\s*(\S+)", text, re.M):
        yield text.count("\n", 0, found.start()) + 1, found[1]
    for found in re.finditer(r'<(?:img|a)\b[^>]*\b(?:src|href)="([^"]+)"', text):
        yield text.count("\n", 0, found.start()) + 1, found[1]


def check_links(pages):
    count = 0
    for path, (prose, _) in pages.items():
        for line, link in links(prose):
            if re.match(r"^[a-z][a-z0-9+.-]*:", link, re.I):
                continue
            count += 1
            target, _, anchor = urllib.parse.unquote(link).partition("#")
            to = pathlib.Path(os.path.normpath(path.parent / target)) if target else path
            if to.parts[:1] == ("..",) or not (ROOT / to).exists():
                fault(f"{path}:{line}", f"no such file: {link}")
            elif anchor and to.suffix == ".md":
                if to not in pages:
                    fault(f"{path}:{line}", f"not a page of the repository: {link}")
                elif anchor not in anchors(pages[to][0]):
                    fault(f"{path}:{line}", f"no such heading: {link}")
    print(f"{count} links of {len(pages)} pages")


def check_readme(pages):
    readme = (ROOT / "README.md").read_text()
    lines = readme.count("\n")
    if lines >= 200:
        fault("README.md", f"{lines} lines; expected fewer than 200")
    index = (ROOT / "docs/README.md").read_text()
    for path in pages:
        if path.parts[:-1] == ("docs",) and path.name != "README.md":
            if f"(docs/{path.name}" not in readme:
                fault("README.md", f"no link to docs/{path.name}")
            if f"({path.name}" not in index:
                fault("docs/README.md", f"no link to {path.name}")
    said = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.search(r"^Commands:\n((?:  .*\n)+)", said, re.M)[1]
    for command in re.findall(r"^  (\w+)", commands, re.M):
        if command != "help" and f"mobilens {command}" not in readme:
            fault("README.md", f"the command {command} is not named")


def check_references():
    for page, arguments in REFERENCES.items():
        path = ROOT / page
        text = path.read_text()
        head = text.partition("| Key |")[0]
        printed = subprocess.run([BINARY, "schema", "--markdown", *arguments], capture_output=True, text=True, check=True)
        if text == head + printed.stdout:
            continue
        if os.environ.get("UPDATE_GOLDENS"):
            path.write_text(head + printed.stdout)
        else:
            fault(page, f"not what `mobilens schema --markdown {' '.join(arguments)}` prints; UPDATE_GOLDENS=1 writes it")


def checkout_copy(folder):
    for name in ["pipelines", "assets"]:
        shutil.copytree(ROOT / name, folder / name)
    (folder / "models").mkdir()
    for path in (ROOT / "models").iterdir():
        if path.suffix in (".onnx", ".yaml"):
            (folder / "models" / path.name).symlink_to(path)
    (folder / "bin").mkdir()
    (folder / "bin/mobilens").symlink_to(BINARY)
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return environment | {"PATH": f"{folder / 'bin'}:{environment['PATH']}", "HOME": str(folder)}


def run(command, where, **more):
    began = time.monotonic()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=TIMEOUT_S, **more)
    except subprocess.TimeoutExpired:
        return fault(where, f"not done after {TIMEOUT_S} s")
    if done.returncode != 0:
        fault(where, f"exit status {done.returncode}\n" + "\n".join(done.stdout.split("\n")[-30:]))
    return time.monotonic() - began


def check_commands(path, blocks):
    wanted = [(line, text) for line, info, text in blocks if info.split() == ["sh", "test"]]
    if not wanted:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        environment = checkout_copy(pathlib.Path(folder))
        for line, text in wanted:
            took = run(["bash", "-euo", "pipefail", "-c", text], f"{path}:{line}", cwd=folder, env=environment)
            print(f"{path}:{line}: {took or 0:.1f} s", flush=True)
    return len(wanted)


def missing_keys(block):
    """What a block of YAML lacks to be a whole pipeline."""
    kinds = [kind for sink in block.get("sinks") or [] for kind in sink]
    segments = "segment" in block or "masks" in kinds or "deeplab" in json.dumps(block.get("model", ""))
    classifies = "classify" in block or "efficientnet" in json.dumps(block.get("model", ""))
    whole = ("model" in block or "models" in block) and ("source" in block or "streams" in block)
    skeleton = {} if whole else SEGMENTER if segments else CLASSIFIER if classifies else DETECTOR
    return {k: v for k, v in skeleton.items() if k not in block and not (k == "source" and "streams" in block)}


def check_yaml(path, blocks, folder, environment):
    count = 0
    for line, info, text in blocks:
        words = info.split()
        if words[:1] != ["yaml"]:
            continue
        where = f"{path}:{line}"
        try:
            block = yaml.safe_load(text)
        except yaml.YAMLError as error:
            fault(where, f"not YAML: {error}")
            continue
        if words[1:] == ["partial"]:
            continue
        if not isinstance(block, dict):
            fault(where, "not a mapping; mark it as partial if that is meant")
            continue
        missing = missing_keys(block)
        if "head" in block and "labels" in block:
            (folder / f"models/card-{line}.yaml").write_text(text)
            text, missing = "", DETECTOR | {"model": f"../models/card-{line}.yaml"}
        # A pipeline's paths are relative to its own file, and what it reads must be there.
        file = folder / "pipelines" / f"{path.stem}-{line}.yaml"
        file.write_text(text + (yaml.safe_dump(missing) if missing else ""))
        variables = {name: "a-secret-of-some-length" for name in re.findall(r"\$\{(\w+)\}", text)}
        run(["mobilens", "check", str(file)], where, cwd=folder, env=environment | variables)
        count += 1
    return count


def check_json(path, blocks, validator):
    count = 0
    for line, info, text in blocks:
        if info.split()[:1] != ["json"]:
            continue
        for offset, row in enumerate(text.split("\n"), 1):
            if not row.strip():
                continue
            try:
                value = json.loads(row)
            except ValueError as error:
                fault(f"{path}:{line + offset}", f"not JSON: {error}")
                continue
            count += 1
            if validator and isinstance(value, dict) and "type" in value:
                for error in validator.iter_errors(value):
                    fault(f"{path}:{line + offset}", error.message[:200])
    return count


began = time.monotonic()
check_references()
pages = {path: split((ROOT / path).read_text()) for path in markdown_files()}
for path, (_, blocks) in pages.items():
    for line, info, _ in blocks:
        if info == "unclosed":
            fault(f"{path}:{line}", "the block is not closed")
check_links(pages)
check_readme(pages)
documents = {p: blocks for p, (_, blocks) in pages.items() if p.parts[0] in ("README.md", "docs") or p.parent == pathlib.Path("models")}
try:
    import jsonschema
    schema = subprocess.run([BINARY, "schema", "--records"], capture_output=True, text=True, check=True).stdout
    validator = jsonschema.Draft202012Validator(json.loads(schema))
except ImportError:
    validator = None
    print("SKIPPED: jsonschema is not installed; JSON lines are only parsed")
counts = [0, 0, 0]
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    environment = checkout_copy(folder)
    for path, blocks in documents.items():
        counts[0] += check_yaml(path, blocks, folder, environment)
        counts[1] += check_json(path, blocks, validator)
for path, blocks in documents.items():
    if QUICK:
        break
    counts[2] += check_commands(path, blocks)
yaml_count, json_count, command_count = counts
if not all(counts[:2] if QUICK else counts):
    fault("tests/docs.sh", f"nothing to try? {counts}")
print(f"{yaml_count} pipelines, {json_count} JSON lines, {command_count} blocks of commands in {time.monotonic() - began:.0f} s")
if faults:
    print(f"\n{len(faults)} faults", *faults, sep="\n")
    sys.exit(1)
print("the documentation holds")
PYTHON
