#!/usr/bin/env python3
"""Prints the headers below a folder of the project, one per line, relative to the project's root."""
import pathlib
import sys

root = pathlib.Path(__file__).resolve().parents[2]
for header in sorted((root / sys.argv[1]).rglob("*.h")):
    print(header.relative_to(root).as_posix())
