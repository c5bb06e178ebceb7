#!/usr/bin/env python3
"""The program around the fuzzers, seen from outside: what it prints, saves, refuses and shrinks.

    harness_test.py SPINDLE_FUZZ

Each case runs in an empty folder of its own. The canaries have planted bugs; canary_fuzz.cpp and canary_disk_fuzz.cpp
say what each needs at least.
"""
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else 'spindle-fuzz').resolve())
TOOK_WHAT_HAS_NO_ROOM = 'the queue took what it has no room for'
CANARY_EVENTS_MIN = 23
# A seed of the canary that fails by the check that needs the fewest events, and is none of its fixed seeds.
CANARY_SEED = 99
# Of the other one; it is no fixed seed either.
DISK_SEED = 7
PASSING = ['node_pool', '--events-max', '500']


class Harness(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.failures = self.folder / 'fuzz-failures'

    def run_program(self, *arguments, environment=None):
        everything = {key: value for key, value in os.environ.items() if key != 'SPINDLE_FUZZ_FAILURES'}
        everything.update(environment or {})
        return subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.folder, env=everything, timeout=300,
                              capture_output=True, text=True)

    def command_of(self, done):
        """The words of the one command that repeats a failure, without the program."""
        found = re.findall(r'^FAILED\. To repeat: (.*)$', done.stderr, re.MULTILINE)
        self.assertEqual(len(found), 1, done.stderr)
        words = shlex.split(found[0])
        self.assertEqual(words[0], PROGRAM)
        return words[1:]

    def failure_of(self, done):
        """The line of the check that failed."""
        found = re.findall(r'^\S+_fuzz\.cpp:\d+: .*$', done.stderr, re.MULTILINE)
        self.assertEqual(len(found), 1, done.stderr)
        return found[0]

    def option_of(self, words, name):
        return words[words.index(name) + 1]

    def numbers_of(self, text):
        numbers = []
        for part in text.split(','):
            first, _, last = part.partition('-')
            numbers += range(int(first), int(last or first) + 1)
        return numbers

    def events_listed(self, done):
        """Their numbers."""
        return [int(number) for number in re.findall(r'^ {1,7}(\d+)  \S', done.stdout, re.MULTILINE)]

    def processes_of(self, name):
        """Those of the program that run this fuzzer in this folder, as the children do."""
        found = []
        for process in pathlib.Path('/proc').glob('[0-9]*'):
            try:
                words = (process / 'cmdline').read_bytes().split(b'\0')
                if name.encode() in words and (process / 'cwd').resolve() == self.folder.resolve():
                    found.append(process.name)
            except OSError:
                pass
        return found

    # ---- failures

    def test_a_failure_prints_the_command_that_repeats_it(self):
        done = self.run_program('canary')
        self.assertEqual(done.returncode, 1)
        words = self.command_of(done)
        again = self.run_program(*words)
        self.assertEqual(again.returncode, 1)
        self.assertEqual(self.failure_of(again), self.failure_of(done))
        self.assertEqual(self.command_of(again), words)

    def test_a_part_of_a_run_is_repeated_with_its_selection(self):
        done = self.run_program('canary', '--seed', CANARY_SEED, '--events', '9000,1-8999', '--faults', '2.1,1.1')
        self.assertEqual(done.returncode, 1)
        words = self.command_of(done)
        self.assertEqual(words, ['canary', '--seed', str(CANARY_SEED), '--events-max', '20000', '--events', '1-9000',
                                 '--faults', '1.1,2.1'])
        self.assertFalse(self.failures.exists(), 'a part of a run is not saved')

    def test_no_events_are_a_run(self):
        for name in self.run_program('list').stdout.splitlines():
            done = self.run_program(name.split()[0], '--seed', 1, '--events', 'none', '--faults', 'none')
            self.assertEqual((done.returncode, done.stderr), (0, ''), name)

    def test_a_fuzzer_that_misses_a_mark_fails(self):
        done = self.run_program('canary_marks')
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, 'canary_marks: never reached: what no event does\n')
        self.assertFalse(self.failures.exists())
        self.assertEqual(self.run_program('canary_marks', '--seconds', 1).returncode, 0, 'only in the default run')

    def test_a_signal_prints_the_command(self):
        for number in (signal.SIGTERM, signal.SIGSEGV):
            with subprocess.Popen([PROGRAM, 'node_pool', '--seconds', '100'], cwd=self.folder, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                for line in process.stdout:
                    if 'new seed' in line:
                        break
                time.sleep(0.2)
                process.send_signal(number)
                _, printed = process.communicate(timeout=60)
            self.assertNotEqual(process.returncode, 0)
            self.assertIn(f'FAILED. To repeat: {PROGRAM} node_pool --seed ', printed)
            self.assertEqual(len(list(self.failures.iterdir())), 1, printed)
            next(self.failures.iterdir()).unlink()

    def test_a_signal_while_minimizing_prints_the_command_so_far_and_leaves_no_child(self):
        with subprocess.Popen([PROGRAM, 'canary_hang', '--seed', '5', '--minimize'], cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            _, printed = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertIn(f'FAILED. To repeat: {PROGRAM} canary_hang --seed 5 --events-max 1000', printed)
        deadline = time.monotonic() + 10
        while self.processes_of('canary_hang') and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.processes_of('canary_hang'), [])

    # ---- saved seeds

    def test_a_seed_that_failed_is_saved_and_comes_first_next_time(self):
        done = self.run_program('canary', '--seed', CANARY_SEED)
        saved = self.failures / f'canary-{CANARY_SEED}-20000.seed'
        self.assertEqual(saved.read_text(), f'canary --seed {CANARY_SEED} --events-max 20000\n')
        self.assertIn('Saved as fuzz-failures/', done.stderr)
        next_time = self.run_program('canary')
        self.assertEqual(self.option_of(self.command_of(next_time), '--seed'), str(CANARY_SEED))
        self.assertEqual(len(list(self.failures.iterdir())), 1)

    def test_a_fixed_seed_is_not_saved(self):
        self.assertEqual(self.run_program('canary').returncode, 1)
        self.assertFalse(self.failures.exists())

    def test_the_folder_is_that_of_the_option_then_of_the_environment(self):
        seed = ['canary', '--seed', CANARY_SEED]
        self.run_program(*seed, environment={'SPINDLE_FUZZ_FAILURES': 'from-environment'})
        self.assertEqual(len(list((self.folder / 'from-environment').iterdir())), 1)
        self.run_program(*seed, '--failures', 'from-option', environment={'SPINDLE_FUZZ_FAILURES': 'unused'})
        self.assertEqual(len(list((self.folder / 'from-option').iterdir())), 1)
        self.assertFalse((self.folder / 'unused').exists())
        self.assertFalse(self.failures.exists())

    def test_a_saved_seed_that_passes_is_removed(self):
        self.failures.mkdir()
        saved = self.failures / 'node_pool-123-500.seed'
        saved.write_text('node_pool --seed 123 --events-max 500\n')
        other = self.failures / 'canary-5-20000.seed'
        other.write_text('canary --seed 5 --events-max 20000\n')
        done = self.run_program(*PASSING, '--seconds', 1)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('node_pool: the saved seed 123 passes now: removed; its place is among the fuzzer\'s fixed seeds\n',
                      done.stdout)
        self.assertFalse(saved.exists())
        self.assertTrue(other.exists())
        saved.write_text('node_pool --seed 123 --events-max 500\n')
        self.run_program(*PASSING, '--seed', 1)
        self.run_program(*PASSING, '--hash')
        self.assertTrue(saved.exists(), 'only the run without --seed and --hash looks at saved seeds')

    def test_what_is_no_saved_seed_is_said_and_left_alone(self):
        self.failures.mkdir()
        for text in ('', 'nonsense\n', 'canary --seed 1 --events-max 5\n', 'node_pool --seed 7 --events-max 500 --x\n',
                     'node_pool --seed 8 --events-max 500\n', 'node_pool --seed --events-max 500\n'):
            saved = self.failures / 'node_pool-7-500.seed'
            saved.write_text(text)
            done = self.run_program(*PASSING, '--seconds', 1)
            self.assertEqual(done.returncode, 0)
            self.assertEqual(done.stderr, 'fuzz-failures/node_pool-7-500.seed: not a saved seed of node_pool\n')
            self.assertTrue(saved.exists())

    def test_a_folder_that_cannot_be_used_costs_a_line(self):
        in_the_way = self.folder / 'file'
        in_the_way.write_text('')
        for name in ('file', 'missing/folder', '/proc/none'):
            done = self.run_program('canary', '--seed', CANARY_SEED, '--failures', name)
            self.assertEqual(done.returncode, 1)
            self.command_of(done)
            self.assertEqual(done.stderr.splitlines()[-1],
                             f'The seed could not be saved as {name}/canary-{CANARY_SEED}-20000.seed.')
        done = self.run_program(*PASSING, '--seconds', 1, '--failures', 'file')
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr, 'the saved seeds in file can\'t be read: Not a directory\n')

    # ---- minimizing

    def test_the_canary_is_minimized_to_what_its_bug_needs(self):
        done = self.run_program('canary', '--seed', CANARY_SEED, '--minimize')
        self.assertEqual(done.returncode, 1)
        self.assertIn(TOOK_WHAT_HAS_NO_ROOM, self.failure_of(done))
        words = self.command_of(done)
        numbers = self.numbers_of(self.option_of(words, '--events'))
        self.assertEqual(len(numbers), CANARY_EVENTS_MIN, done.stdout)
        self.assertEqual(self.events_listed(done), numbers)
        self.assertNotIn('--faults', words)
        self.assertIn(f'{CANARY_EVENTS_MIN} of 20000 events are left', done.stdout)
        self.assertTrue((self.failures / f'canary-{CANARY_SEED}-20000.seed').exists())
        again = self.run_program(*words)
        self.assertEqual(again.returncode, 1)
        self.assertEqual(self.failure_of(again), self.failure_of(done))
        for left_out in numbers:
            rest = ','.join(str(number) for number in numbers if number != left_out)
            fewer = self.run_program('canary', '--seed', CANARY_SEED, '--events', rest)
            same = fewer.returncode == 1 and self.failure_of(fewer) == self.failure_of(done)
            self.assertFalse(same, f'it fails without {left_out}, too')

    def test_faults_are_minimized_too(self):
        done = self.run_program('canary_disk', '--seed', DISK_SEED, '--minimize')
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        words = self.command_of(done)
        numbers = self.numbers_of(self.option_of(words, '--events'))
        faults = self.option_of(words, '--faults')
        self.assertEqual(len(numbers), 3, done.stdout)
        self.assertEqual(faults, f'{numbers[1]}.1')
        self.assertIn(f'  fault {faults}: short write\n', done.stdout)
        again = self.run_program(*words)
        self.assertEqual(again.returncode, 1)
        self.assertEqual(self.failure_of(again), self.failure_of(done))
        words[words.index('--faults') + 1] = 'none'
        self.assertEqual(self.run_program(*words).returncode, 0, 'it fails without the fault, too')

    def test_minimizing_goes_on_from_a_selection(self):
        done = self.run_program('canary', '--seed', CANARY_SEED, '--minimize', '--events', '1000-19000')
        numbers = self.numbers_of(self.option_of(self.command_of(done), '--events'))
        self.assertEqual(len(numbers), CANARY_EVENTS_MIN)
        self.assertGreaterEqual(min(numbers), 1000)

    def test_minimizing_looks_for_a_seed_that_fails(self):
        self.failures.mkdir()
        (self.failures / 'canary-1234-20000.seed').write_text('canary --seed 1234 --events-max 20000\n')
        done = self.run_program('canary', '--minimize')
        self.assertEqual(self.option_of(self.command_of(done), '--seed'), '1234')
        (self.failures / 'canary-1234-20000.seed').unlink()
        done = self.run_program('canary', '--minimize')
        self.assertEqual(self.option_of(self.command_of(done), '--seed'), '1', 'the first fixed one')

    def test_minimizing_what_does_not_fail_says_so(self):
        done = self.run_program(*PASSING, '--seed', 1, '--minimize')
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, 'node_pool: seed 1 does not fail\n', ''))
        done = self.run_program(*PASSING, '--minimize', '--seconds', 1)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertRegex(done.stdout, r'^node_pool: nothing fails, in \d+ runs\n$')
        self.assertFalse(self.failures.exists())

    def test_hangs_signals_and_assertions_are_minimized(self):
        for kind, signature in (('hang', r'hangs'), ('signal', r'killed by SIGFPE|.*Sanitizer.*|.*runtime error'),
                                ('assert', r'\S+: invariant failed: .*')):
            done = self.run_program(f'canary_{kind}', '--seed', 5, '--minimize', '--seconds', 12)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertRegex(done.stderr.splitlines()[0], f'^({signature})$')
            words = self.command_of(done)
            self.assertEqual(len(self.numbers_of(self.option_of(words, '--events'))), 1, done.stdout)
            if kind == 'hang':
                continue
            again = self.run_program(*words)
            self.assertEqual(again.returncode, 1)
            self.assertEqual(self.command_of(again), words)

    # ---- the command line

    def test_bad_options_are_refused_in_one_line(self):
        seed = ['canary', '--seed', '1']
        for arguments in ([], ['nobody'], ['canary', 'twice'], ['canary', '--what'], ['canary', '--default'],
                          ['canary', '--seed'], ['canary', '--seed', ''], ['canary', '--seed', '-1'],
                          ['canary', '--seed', '1x'], ['canary', '--seed', '18446744073709551616'],
                          ['canary', '--seed', 'g' * 40], ['canary', '--events-max', '0'],
                          ['canary', '--events-max', '4294967296'], ['canary', '--events-max', 'many'],
                          ['canary', '--seconds', '0'], ['canary', '--seconds', '1.5'], ['canary', '--seconds', '-3'],
                          ['canary', '--events', '1'], ['canary', '--faults', 'none'], [*seed, '--events', ''],
                          [*seed, '--events', '9-5'], [*seed, '--events', '0'], [*seed, '--events', '1,'],
                          [*seed, '--events', '4294967296'], [*seed, '--faults', '3'], [*seed, '--faults', '1.0'],
                          [*seed, '--failures', ''], [*seed, '--events', '1', '--seconds', '1'],
                          [*seed, '--hash', '--minimize'], [*seed, '--seed', '2'], ['list', '--seed', '1'],
                          ['list', '--verbose'], ['list', '--failures', 'x']):
            done = self.run_program(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ''), arguments)
            self.assertRegex(done.stderr, r'^spindle-fuzz: [^\n]+\n$', arguments)
        self.assertFalse(self.failures.exists())

    def test_no_room_for_a_child_is_no_failure_of_the_fuzzer(self):
        # UBSan asks through a pipe of its own whether an object can be read; without descriptors it finds none readable.
        if b'__ubsan_handle' in pathlib.Path(PROGRAM).read_bytes():
            self.skipTest('UBSan itself needs the descriptors that are taken away')
        limit = ('import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4)); '
                 'os.execv(sys.argv[1], sys.argv[1:])')
        done = subprocess.run([sys.executable, '-c', limit, PROGRAM, 'canary', '--seed', str(CANARY_SEED), '--minimize'],
                              cwd=self.folder, timeout=60, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (2, ''), done.stderr)
        self.assertRegex(done.stderr, r"^can't run a case in a process of its own: pipe: Too many open files\n$")
        self.assertFalse(self.failures.exists())

    def test_help_names_every_option(self):
        done = self.run_program('--help')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for option in ('seed', 'events-max', 'seconds', 'hash', 'verbose', 'minimize', 'events', 'faults', 'failures'):
            self.assertIn(f'--{option}', done.stdout)

    def test_the_list_says_what_runs_by_default(self):
        lines = [line.split(None, 2) for line in self.run_program('list').stdout.splitlines()]
        default = self.run_program('list', '--default').stdout.split()
        self.assertEqual([name for name, when, _ in lines if when == 'default'], default)
        self.assertIn('storage', default)
        self.assertEqual([name for name in default if name.startswith('canary')], [])
        self.assertIn('canary', [name for name, when, _ in lines if when == 'by-name'])

    def test_a_seed_may_be_a_commit_hash(self):
        digits = '0123456789abcdef0123456789abcdef01234567'
        done = self.run_program('canary', '--seed', digits)
        again = self.run_program('canary', '--seed', digits.upper())
        self.assertEqual(self.command_of(done), self.command_of(again))

    def test_verbose_lists_the_events_that_run(self):
        done = self.run_program('canary', '--seed', 1, '--events', '3,7-9', '--verbose')
        self.assertEqual(self.events_listed(done), [3, 7, 8, 9])
        for name in self.run_program('list', '--default').stdout.split():
            done = self.run_program(name, '--seed', 1, '--events', '3,7-9', '--verbose')
            self.assertEqual(self.events_listed(done)[:4], [3, 7, 8, 9], name)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
