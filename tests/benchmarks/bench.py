"""What the tests of spindle-bench share: running it, temporary folders, skipping."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM = None  # the path of spindle-bench, set by main()


def main():
    """Takes the program's path off the command line and runs the tests of the calling module."""
    global PROGRAM
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)


def skip(case, reason):
    """This machine can't run the test: says why; with SPINDLE_NO_SKIP=1 that is a failure."""
    if os.environ.get('SPINDLE_NO_SKIP') == '1':
        case.fail('skipped: ' + reason)
    print('SKIP: ' + reason, flush=True)
    case.skipTest(reason)


class BenchCase(unittest.TestCase):
    """A folder of its own, below the working folder, which is on a disk rather than on tmpfs."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='bench-test-', dir=os.getcwd())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def names(self):
        return sorted(os.listdir(self.folder))

    def write(self, name, content):
        with open(self.path(name), 'wb') as file:
            file.write(content)
        return self.path(name)

    def run_bench(self, *arguments, **options):
        return subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
                              **options)

    def succeed(self, *arguments):
        done = self.run_bench(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ''), ' '.join(map(str, arguments)))
        return done.stdout

    def succeed_json(self, *arguments):
        return json.loads(self.succeed(*arguments, '--output-format', 'json'))

    def refused(self, status, words, *arguments, **options):
        """Exactly one line on standard error, with these words; nothing on standard output."""
        done = self.run_bench(*arguments, **options)
        shown = f'{arguments}: {done.stderr!r}'
        self.assertEqual(done.returncode, status, shown)
        self.assertEqual(done.stdout, '', shown)
        self.assertEqual(done.stderr.count('\n'), 1, shown)
        self.assertTrue(done.stderr.startswith('spindle-bench: '), shown)
        for word in words:
            self.assertIn(word, done.stderr, shown)
