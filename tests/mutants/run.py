#!/usr/bin/env python3
"""Planted bugs, and which test finds each of them.

A mutant is a file NAME.mutant in this folder:

    file: runtime/scope.cpp
    find: the text of one line that is unique in that file (leading and trailing spaces do not count)
    replace: what stands there instead; may be empty, and may be several lines of the form "replace: ..."
    reason: why a program with this bug is wrong

    run.py [NAME ...]   copies the tree, and for each mutant: applies it, then builds and runs one program after another,
                        unit tests of its layer, those of the layers above, fuzzers. Prints who found it and how fast.
                        Exit status 1 when one survives.
    run.py --check      only checks that each mutant still applies (a stale one fails).
    run.py --list       their names and reasons.
"""
import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDERS = ['runtime', 'pools', 'io', 'lsm', 'services', 'tests', 'benchmarks', 'examples', 'docs']
FILES = ['meson.build', 'meson_options.txt']
# Those with unit tests, each on top of those before it.
LAYERS = ['runtime', 'pools', 'io', 'lsm']


class Mutant:
    def __init__(self, path):
        self.name = path.stem
        self.fields = {'file': [], 'find': [], 'replace': [], 'reason': []}
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip():
                continue
            key, colon, value = line.partition(':')
            if not colon or key not in self.fields:
                raise SystemExit(f'{path.name}:{number}: not a "file:", "find:", "replace:" or "reason:" line')
            self.fields[key].append(value[1:] if value.startswith(' ') else value)
        for key in ('file', 'find', 'reason'):
            if len(self.fields[key]) != 1:
                raise SystemExit(f'{path.name}: needs exactly one "{key}:" line')
        self.file = self.fields['file'][0].strip()
        self.find = self.fields['find'][0].strip()
        self.replace = '\n'.join(self.fields['replace'])
        self.reason = self.fields['reason'][0]

    def mutated(self, root):
        """The file with the bug in it, or a reason why it can't be planted."""
        path = root / self.file
        if not path.is_file():
            return None, f'{self.file} does not exist'
        lines = path.read_text().split('\n')
        places = [index for index, line in enumerate(lines) if line.strip() == self.find]
        if len(places) != 1:
            return None, f'its line stands {len(places)} times in {self.file}, not once'
        lines[places[0]] = self.replace
        return '\n'.join(lines), None


def load(names):
    mutants = [Mutant(path) for path in sorted(HERE.glob('*.mutant'))]
    unknown = set(names) - {mutant.name for mutant in mutants}
    if unknown:
        raise SystemExit('no such mutant: ' + ', '.join(sorted(unknown)))
    return [mutant for mutant in mutants if not names or mutant.name in names]


def check(mutants):
    stale = 0
    for mutant in mutants:
        _, why = mutant.mutated(ROOT)
        if why:
            print(f'{mutant.name}: stale: {why}')
            stale += 1
    print(f'{len(mutants) - stale} of {len(mutants)} mutants apply')
    return 1 if stale else 0


def run(command, limit_s, cwd=None):
    """(exit status, output); a run that takes too long is ended, and counts as failed (status 124)."""
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors='replace', start_new_session=True)
    try:
        output, _ = process.communicate(timeout=limit_s)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return 124, output


def copy_tree(work):
    source = work / 'source'
    source.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        if (ROOT / folder).is_dir():
            subprocess.run(['cp', '-ru', '--preserve=timestamps', str(ROOT / folder), str(source)], check=True)
    for name in FILES:
        shutil.copy2(ROOT / name, source / name)
    return source


def set_up(work, sanitize):
    source = copy_tree(work)
    build = work / ('build-sanitize' if sanitize else 'build')
    if not (build / 'build.ninja').is_file():
        # Unoptimised, since most of the time goes into compiling.
        command = ['meson', 'setup', str(build), str(source), '-Dbuildtype=plain', '-Dledger=on', '-Dbenchmarks=false',
                   '-Dservices=false', '-Dmimalloc=disabled', '-Dlibfuzzer=disabled']
        if sanitize:
            command += ['-Db_sanitize=address,undefined', '-Db_lundef=false']
        status, output = run(command, 300)
        if status != 0:
            raise SystemExit('the tree does not configure:\n' + output[-3000:])
    return source, build


def first_failure(output):
    for line in output.splitlines():
        if 'invariant failed' in line or 'ERROR: AddressSanitizer' in line or 'ERROR: LeakSanitizer' in line:
            return line.strip()[:120]
    for line in output.splitlines():
        if line.startswith('TEST CASE:'):
            return line.strip()[:120]
    return ''


def make(build, target):
    status, output = run(['ninja', '-C', str(build), f'tests/{target}'], 3600)
    return None if status == 0 else output


def steps_of(layer, build, limits):
    """(who, program, arguments, limit in seconds), the likeliest to find a bug in that layer first."""
    for name in LAYERS[LAYERS.index(layer) if layer in LAYERS else 0:]:
        yield f'unit tests of {name}', f'{name}-test', ['--abort-after=1'], limits['unit']
    make(build, 'spindle-fuzz')
    program = str(build / 'tests' / 'spindle-fuzz')
    listed = subprocess.run([program, 'list', '--default'], capture_output=True, text=True).stdout.split()
    for name in listed:
        yield f'fuzzer {name}', 'spindle-fuzz', [name, '--seconds', str(limits['fuzz'])], limits['fuzz'] * 2 + 60


class DoesNotCompile(Exception):
    pass


def hunt(layer, build, limits):
    """Who finds the bug: (name, seconds without the building, what it said), or None."""
    shutil.rmtree(build / 'fuzz-failures', ignore_errors=True)  # seeds that found another one
    seconds = 0
    for who, program, arguments, limit_s in steps_of(layer, build, limits):
        output = make(build, program)
        if output is not None:
            raise DoesNotCompile(output)
        began = time.monotonic()
        status, output = run([str(build / 'tests' / program), *arguments], limit_s, cwd=build)
        seconds += time.monotonic() - began
        if status != 0:
            said = 'took too long' if status == 124 else first_failure(output)
            return who, seconds, said
    return None


def hunt_all(mutants, work, sanitize, limits):
    """Plants each; the list of those that survive."""
    source, build = set_up(work, sanitize)
    try:
        found = hunt(LAYERS[0], build, {'unit': 600, 'fuzz': 5})
    except DoesNotCompile as failed:
        raise SystemExit(f'the tree does not build:\n{str(failed)[-3000:]}') from failed
    if found:
        raise SystemExit(f'the tree fails without any mutant: {found[0]}: {found[2]}')
    survivors = []
    for mutant in mutants:
        text, _ = mutant.mutated(source)
        path = source / mutant.file
        original = path.read_text()
        path.write_text(text)
        try:
            found = hunt(mutant.file.split('/')[0], build, limits)
        except DoesNotCompile:
            print(f'{mutant.name}: does not compile', flush=True)
            survivors.append(mutant)
            continue
        finally:
            path.write_text(original)
        if found:
            print(f'{mutant.name}: killed by the {found[0]} after {found[1]:.1f} s  {found[2]}', flush=True)
        else:
            survivors.append(mutant)
    return survivors


def main():
    parser = argparse.ArgumentParser(description='Plants bugs and tells which test finds them.')
    parser.add_argument('names', nargs='*')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--sanitize', action='store_true', help='with ASan and UBSan from the start: slower')
    parser.add_argument('--fuzz-seconds', type=int, default=60)
    parser.add_argument('--work', default=str(ROOT / 'build' / 'mutants'))
    options = parser.parse_args()
    mutants = load(options.names)
    if options.list:
        for mutant in mutants:
            print(f'{mutant.name}: {mutant.reason}')
        return 0
    if options.check:
        return check(mutants)
    if check(mutants):
        return 1
    work = pathlib.Path(options.work)
    limits = {'unit': 600, 'fuzz': options.fuzz_seconds}
    survivors = hunt_all(mutants, work, options.sanitize, limits)
    # Memory that is used after its end is seen for certain by the sanitizers only.
    if survivors and not options.sanitize:
        print(f'{len(survivors)} survived so far; now with sanitizers', flush=True)
        survivors = hunt_all(survivors, work, True, limits)
    for mutant in survivors:
        print(f'{mutant.name}: SURVIVED: {mutant.reason}')
    print(f'{len(mutants) - len(survivors)} of {len(mutants)} mutants killed')
    return 1 if survivors else 0


if __name__ == '__main__':
    sys.exit(main())
