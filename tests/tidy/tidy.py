#!/usr/bin/env python3
"""Reads the project's C++ files and fails where they break the rules of layering, size and awaiting.

    tidy.py [ROOT] [--list-checks]

Each finding is `path:line: check: what is wrong`. An entry of tests/tidy/exceptions.txt allows one, with its reason:
`check | path | symbol or text | reason`; an entry that matches nothing fails too.
"""
import collections
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import awaits  # noqa: E402
from lexer import Source  # noqa: E402

# Each folder with those that it may include, itself aside.
LAYERS = {
    "runtime": (),
    "pools": ("runtime",),
    "io": ("runtime", "pools"),
    "lsm": ("runtime", "pools", "io"),
    "services": ("runtime", "pools", "io", "lsm"),
    "benchmarks": ("runtime", "pools", "io", "lsm", "services"),
    "tests": ("runtime", "pools", "io", "lsm", "services", "benchmarks"),
}
# Folders that a layer must not include although it may include what is around them.
BACKENDS = ("io/uring/", "io/sim/")
KNOWS_NO_RING = ("runtime", "pools", "lsm")
KNOWS_NO_DESCRIPTOR = ("liburing.h", "sys/socket.h", "fcntl.h", "unistd.h")
HEAVY = ("cassert", "assert.h", "iostream", "functional", "ranges", "regex")
LIBRARY = ("runtime", "pools", "io", "lsm")

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
LINE_SIZE_MAX = 120

CHECKS = ("layer", "ring", "descriptor", "include", "include-cycle", "heavy-include", "pragma-once", "file-length",
          "function-length", "line-length", "unlisted", "exceptions") + awaits.CHECKS

Finding = collections.namedtuple("Finding", "check path line symbol message")


def is_header(path):
    return path.endswith(".h")


def check_includes(source, paths):
    layer = source.path.split("/")[0]
    for line, quoted, name in source.includes:
        def finding(check, message):
            return Finding(check, source.path, line, name, message)

        if not quoted:
            if is_header(source.path) and layer == "runtime" and name in KNOWS_NO_DESCRIPTOR:
                yield finding("descriptor", f"<{name}> in a header of runtime, which knows no descriptor")
            elif layer in KNOWS_NO_RING and name.startswith("liburing"):
                yield finding("ring", f"<{name}> in {layer}, which knows no ring")
            if is_header(source.path) and layer in LIBRARY and name in HEAVY:
                yield finding("heavy-include", f"<{name}> in a header")
            continue
        if name not in paths:
            yield finding("include", f'"{name}" is no file of the project, relative to its root')
            continue
        other = name.split("/")[0]
        if other != layer and other not in LAYERS[layer]:
            yield finding("layer", f'{layer} includes "{name}", but may include only '
                                   f'{", ".join(LAYERS[layer]) or "itself"}')
        elif layer in KNOWS_NO_RING and name.startswith(BACKENDS):
            yield finding("ring", f'{layer} includes "{name}", but knows no backend')


def check_cycles(sources):
    """One finding per cycle of includes among headers, with its path."""
    edges = {path: [(line, name) for line, quoted, name in source.includes if quoted and name in sources]
             for path, source in sources.items() if is_header(path)}
    done, trail, reported = set(), [], []

    def visit(path):
        trail.append(path)
        for line, name in edges.get(path, ()):
            if name in trail:
                cycle = trail[trail.index(name):] + [name]
                reported.append(Finding("include-cycle", path, line, name, " -> ".join(cycle)))
            elif name not in done:
                visit(name)
        done.add(trail.pop())

    for path in sorted(edges):
        if path not in done:
            visit(path)
    return reported


def check_sizes(source):
    lines = source.raw_lines
    count = len(lines) - (lines[-1] == "")
    if count > FILE_LINES_MAX:
        yield Finding("file-length", source.path, 1, source.path, f"{count} lines, more than {FILE_LINES_MAX}")
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_SIZE_MAX:
            yield Finding("line-length", source.path, number, line,
                          f"{len(line)} characters, more than {LINE_SIZE_MAX}")
    for name, first, last in source.functions():
        if last - first + 1 > FUNCTION_LINES_MAX:
            yield Finding("function-length", source.path, first, name,
                          f"{name}: {last - first + 1} lines, more than {FUNCTION_LINES_MAX}")


def check_listed(path, root):
    """A source that no meson.build above it names is built by nobody."""
    folder = pathlib.PurePosixPath(path).parent
    found = False
    while True:
        build = root / folder / "meson.build"
        if build.is_file():
            found = True
            text = re.sub(r"#.*", "", build.read_text(encoding="utf-8"))
            if f"'{pathlib.PurePosixPath(path).relative_to(folder)}'" in text:
                return
        if str(folder) == ".":
            break
        folder = folder.parent
    if found:
        yield Finding("unlisted", path, 1, path, "no meson.build lists this source")


def check_source(source, paths):
    yield from check_includes(source, paths)
    yield from check_sizes(source)
    if is_header(source.path) and not source.pragma_once:
        yield Finding("pragma-once", source.path, 1, source.path, "a header without #pragma once")
    for check, line, text, message in awaits.check(source):
        yield Finding(check, source.path, line, text, message)


def read_sources(root):
    sources = {}
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*")):
            if path.suffix in (".h", ".cpp") and path.is_file():
                name = path.relative_to(root).as_posix()
                sources[name] = Source(name, path.read_text(encoding="utf-8", errors="replace"))
    return sources


def findings_of(root):
    sources = read_sources(root)
    findings = check_cycles(sources)
    for path, source in sources.items():
        findings += check_source(source, sources)
        if path.endswith(".cpp"):
            findings += check_listed(path, root)
    return apply_exceptions(root, sources, findings)


def apply_exceptions(root, sources, findings):
    """The findings that no exception allows, and a finding for each exception that is malformed or stale."""
    name = "tests/tidy/exceptions.txt"
    path = root / name
    rest = list(findings)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.exists() else (), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = [field.strip() for field in line.split("|", 3)]
        if len(fields) != 4 or not all(fields) or fields[0] not in CHECKS:
            rest.append(Finding("exceptions", name, number, line,
                                "not of the form: check | path | symbol or text | reason"))
            continue
        check, where, text, _ = fields

        def allowed(finding):
            source = sources.get(finding.path)
            shown = source.raw_lines[finding.line - 1] if source else ""
            return finding.check == check and finding.path == where and (text == finding.symbol or text in shown)

        if not any(allowed(finding) for finding in findings):
            rest.append(Finding("exceptions", name, number, line, f"stale, nothing matches: {check} | {where} | {text}"))
        rest = [finding for finding in rest if not allowed(finding)]
    return rest


def main(arguments):
    if "--list-checks" in arguments:
        print("\n".join(CHECKS))
        return 0
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).resolve().parents[2])
    findings = findings_of(root)
    for finding in sorted(findings, key=lambda f: (f.path, f.line, f.check)):
        print(f"{finding.path}:{finding.line}: {finding.check}: {finding.message}")
    if findings:
        print(f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
