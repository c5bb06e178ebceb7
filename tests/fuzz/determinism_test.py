#!/usr/bin/env python3
"""Same seed, same hash: in two processes, with other addresses and another environment, and as in every other build.

    determinism_test.py SPINDLE_FUZZ HASHES            checks each fuzzer against the file of hashes
    determinism_test.py SPINDLE_FUZZ HASHES --update   writes that file anew, after a change of what the fuzzers do

The file is the same for all compilers and build types: so builds that agree with it agree with each other.
"""
import os
import pathlib
import subprocess
import sys

SEED = '20261121'
EVENTS_MAX = '3000'


def hash_of(program, name, prefix, padding):
    command = prefix + [program, name, '--seed', SEED, '--events-max', EVENTS_MAX, '--hash']
    environment = dict(os.environ, SPINDLE_PADDING='x' * padding)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f'{" ".join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout.split()[-1]


def same_addresses():
    """A prefix that switches the randomization of addresses off, where that is allowed."""
    prefix = ['setarch', '-R']
    try:
        allowed = subprocess.run(prefix + ['true'], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        print('setarch -R does not work here: random addresses only')
    return prefix if allowed else []


def main():
    program, path = sys.argv[1], pathlib.Path(sys.argv[2])
    # The others are meant to fail, or run on the kernel's ring, where time is real.
    names = subprocess.run([program, 'list', '--default'], capture_output=True, text=True, check=True).stdout.split()
    if '--update' in sys.argv[3:]:
        path.write_text(''.join(f'{name} {hash_of(program, name, [], 0)}\n' for name in names))
        return 0
    expected = dict(line.split() for line in path.read_text().splitlines())
    prefix = same_addresses()
    failures = 0
    for name in names:
        hashes = {hash_of(program, name, [], 0), hash_of(program, name, [], 50000), hash_of(program, name, prefix, 0)}
        if len(hashes) != 1:
            print(f'{name}: the same seed gives {", ".join(sorted(hashes))}')
            failures += 1
        elif hashes != {expected.get(name)}:
            print(f'{name}: {hashes.pop()} here, {expected.get(name)} in {path.name}: another build does something '
                  'else, or the fuzzer was changed (then: --update)')
            failures += 1
    print(f'{len(names) - failures} of {len(names)} fuzzers are deterministic')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
