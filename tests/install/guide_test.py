#!/usr/bin/env python3
"""Each piece of C++ in a guide stands so in a source that is compiled and run.

    guide_test.py GUIDE SOURCE ...

A line that is only "…" stands for some lines that the guide leaves out. Space at the ends of lines, and comments there,
do not count.
"""
import pathlib
import re
import sys


def lines_of(text):
    lines = (re.sub(r'\s*//.*', '', line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def pieces_of(guide):
    for block in re.findall(r'^```cpp\n(.*?)^```', guide, re.MULTILINE | re.DOTALL):
        piece = []
        for line in lines_of(block) + ['…']:
            if line != '…':
                piece.append(line)
            elif piece:
                yield piece
                piece = []


def stands_in(piece, lines):
    return any(lines[at:at + len(piece)] == piece for at in range(len(lines) - len(piece) + 1))


def main():
    sources = [lines_of(pathlib.Path(path).read_text()) for path in sys.argv[2:]]
    pieces = list(pieces_of(pathlib.Path(sys.argv[1]).read_text()))
    missing = [piece for piece in pieces if not any(stands_in(piece, lines) for lines in sources)]
    for piece in missing:
        print('stands in no source:\n    ' + '\n    '.join(piece))
    if not pieces:
        print('no C++ in the guide')
    return 1 if missing or not pieces else 0


if __name__ == '__main__':
    sys.exit(main())
