#!/usr/bin/env python3
"""spindle-bench and what it can't do: one line on standard error, the right exit status (2 wrong usage, 1 it can't be
done, 130 interrupted), nothing overwritten, nothing left behind."""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import bench

READ = ('--rw', 'read', '--runtime', '50ms', '--ramp_time', '0')
WRITE = ('--rw', 'write', '--runtime', '50ms', '--ramp_time', '0')
NOBODY = 65534


def as_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


class WrongUsage(bench.BenchCase):
    def test_unknown_words(self):
        self.refused(2, ['--bogus'], '--bogus')
        self.refused(2, ['extra'], 'extra')
        self.refused(2, ['--rw', 'sideways'], '--rw', 'sideways')
        self.refused(2, ['--engine', 'warp'], '--engine', 'warp')
        self.refused(2, ['--output-format', 'xml'], '--output-format', 'xml')
        self.refused(2, ['--sync', 'often'], '--rw', 'write', '--sync', 'often')

    def test_bad_numbers(self):
        for option, value in (('--bs', '4x'), ('--bs', '0'), ('--bs', '-4k'), ('--bs', '1t'), ('--size', '1.5g'),
                              ('--iodepth', '0'), ('--iodepth', '-3'), ('--iodepth', '8,x'), ('--iodepth', '99999'),
                              ('--runtime', 'soon'), ('--runtime', '0'), ('--ramp_time', '-1'), ('--numjobs', '0'),
                              ('--numjobs', '-1'), ('--rate_iops', '-5'), ('--number_ios', '-1'), ('--randseed', 'x'),
                              ('--fsync', '-1'), ('--direct', '2')):
            with self.subTest(option=option, value=value):
                self.refused(2, [option], '--filename', 'new', '--rw', 'randwrite', option, value)
        self.refused(2, ['--rwmixread'], '--filename', 'new', '--rw', 'rw', '--rwmixread', '101')
        self.assertEqual(self.names(), [])

    def test_options_that_contradict(self):
        self.refused(2, ['--fsync'], '--rw', 'read', '--fsync', '3')
        self.refused(2, ['--sync'], '--rw', 'read', '--sync', 'dsync')
        self.refused(2, ['--nop'], '--nop', '--verify')
        self.refused(2, ['--engine'], '--compare', '--engine', 'plain')
        self.refused(2, ['--runtime'], '--runtime', '3')
        self.refused(2, ['--verify'], '--rw', 'write', '--verify', '--bs', '12')


class Files(bench.BenchCase):
    def test_folder_that_is_missing(self):
        self.refused(1, ['none/f', 'No such file', 'errno 2'], '--filename', 'none/f', *READ)
        self.refused(1, ['none/f', '--output'], '--filename', 'f', *READ, '--output', 'none/f')
        self.refused(1, ['none/f', '--report'], '--filename', 'f', *READ, '--report', 'none/f')
        self.refused(1, ['neither a file nor a device'], '--filename', '.', *READ)
        self.assertEqual(self.names(), [])

    def test_foreign_file_is_not_written_to(self):
        content = os.urandom(1 << 20)
        path = self.write('foreign', content)
        for pattern in ('write', 'randwrite', 'rw', 'randrw'):
            self.refused(1, ['foreign', '--overwrite'], '--filename', 'foreign', '--rw', pattern, '--verify')
        self.refused(1, ['foreign', '--overwrite'], '--filename', 'foreign')  # the sweep writes too
        self.refused(1, ['foreign', '--overwrite'], '--filename', 'foreign', '--rw', 'write', '--compare')
        with open(path, 'rb') as file:
            self.assertEqual(file.read(), content)
        self.assertEqual(self.names(), ['foreign'])
        self.succeed('--filename', 'foreign', *WRITE, '--overwrite')
        with open(path, 'rb') as file:
            self.assertNotEqual(file.read(), content)

    def test_result_does_not_replace_the_file_under_test(self):
        for option in ('--output', '--report'):
            self.refused(2, ['different files'], '--filename', 'f', *READ, option, 'f')
        self.refused(2, ['different files'], '--filename', 'f', *READ, '--output', 'g', '--report', 'g')
        self.assertEqual(self.names(), [])

    def test_file_that_does_not_fit(self):
        self.write('foreign', os.urandom(1 << 20))
        self.refused(1, ['1 MiB', '--size'], '--filename', 'foreign', *READ, '--size', '2m')
        self.write('tiny', b'hello')
        self.refused(1, ['5 bytes', '--bs'], '--filename', 'tiny', *READ)
        self.refused(1, ['--bs 100'], '--filename', 'foreign', *READ, '--bs', '100')
        self.refused(1, ['not enough space'], '--filename', 'huge', *READ, '--size', '1000t')
        with open(self.path('hole'), 'wb') as file:
            file.truncate(1 << 20)
        self.refused(1, ['hole', 'offset 0'], '--filename', 'hole', *READ)
        self.assertEqual(self.names(), ['foreign', 'hole', 'tiny'])

    def test_new_file_of_a_run_that_fails_is_removed(self):
        self.refused(1, ['--bs 100'], '--filename', 'new', *READ, '--size', '1m', '--bs', '100')
        self.assertEqual(self.names(), [])

    def test_memory_file_system(self):
        if not os.path.isdir('/dev/shm') or os.stat('/dev/shm').st_dev == os.stat('/').st_dev:
            bench.skip(self, '/dev/shm is no tmpfs')
        with tempfile.TemporaryDirectory(dir='/dev/shm') as folder:
            self.refused(1, ['no direct I/O', '--direct 0'], '--filename', folder + '/f', *READ, '--size', '1m')
            self.assertEqual(os.listdir(folder), [])

    def test_no_permission(self):
        as_root = os.geteuid() == 0
        options = {'preexec_fn': as_nobody} if as_root else {}
        path = self.write('foreign', os.urandom(1 << 16))
        os.chmod(path, 0)
        os.chmod(self.folder, 0o555)
        self.addCleanup(os.chmod, self.folder, 0o755)
        if as_root:  # the build folder may be closed to nobody
            folder = tempfile.mkdtemp()
            self.addCleanup(shutil.rmtree, folder)
            os.chmod(folder, 0o755)
            self.addCleanup(setattr, bench, 'PROGRAM', bench.PROGRAM)
            bench.PROGRAM = shutil.copy(bench.PROGRAM, folder)
        self.refused(1, ['foreign', 'Permission denied', 'errno 13'], '--filename', path, *READ, **options)
        self.refused(1, ['new', 'Permission denied', 'errno 13'], '--filename', self.path('new'), *READ, **options)
        self.assertEqual(self.names(), ['foreign'])


class Interrupts(bench.BenchCase):
    def interrupt(self, seconds, *arguments):
        """Sends Ctrl-C so long after the program has begun to work on its file, or on none that has a name."""
        with subprocess.Popen([bench.PROGRAM, *arguments], cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 20
            while '--filename' in arguments and 'new' not in self.names() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            output, error = process.communicate(timeout=60)
        self.assertEqual((process.returncode, output), (130, ''), error)
        self.assertEqual(error, 'spindle-bench: interrupted; no result\n')

    def test_while_a_job_runs(self):
        jobs = (('--rw', 'randread'), ('--rw', 'randrw', '--verify'), ('--rw', 'write', '--rate_iops', '1'),
                ('--rw', 'randread', '--numjobs', '2'))
        for engine in ('spindle', 'plain'):
            for job in jobs:
                with self.subTest(engine=engine, job=job):
                    self.interrupt(0.4, '--filename', 'new', '--size', '1m', *job, '--engine', engine, '--runtime', '60',
                                   '--output', 'o', '--report', 'r')
                    self.assertEqual(self.names(), [])

    def test_while_a_file_is_laid_out(self):
        self.interrupt(0.3, '--filename', 'new', '--size', '3g', *READ, '--runtime', '60')
        self.assertEqual(self.names(), [])

    def test_in_a_sweep(self):
        self.interrupt(1, '--size', '64m')
        self.assertEqual(self.names(), [])


class FullDisk(bench.BenchCase):
    """On a small ext4 of its own."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            bench.skip(self, 'a loop mount needs root')
        image = self.write('image', b'')
        os.truncate(image, 64 << 20)
        self.mount = self.path('mount')
        os.mkdir(self.mount)
        steps = (['mkfs.ext4', '-q', '-F', image], ['mount', '-o', 'loop', image, self.mount])
        for step in steps:
            try:
                done = subprocess.run(step, check=False, capture_output=True, text=True)
            except FileNotFoundError:
                bench.skip(self, f'{step[0]} is missing')
            if done.returncode != 0:
                bench.skip(self, f'{step[0]} does not work here: {done.stderr.strip()}')
        self.addCleanup(subprocess.run, ['umount', '-l', self.mount], check=False)

    def left(self):
        return sorted(set(os.listdir(self.mount)) - {'lost+found'})

    def test_no_room_for_the_file(self):
        self.refused(1, ['not enough space', '--size'], '--filename', self.mount + '/new', *READ, '--size', '256m')
        self.assertEqual(self.left(), [])

    def test_disk_full_while_writing(self):
        sparse = self.mount + '/sparse'
        with open(sparse, 'wb') as file:
            file.truncate(1 << 30)
        for engine in ('spindle', 'plain'):
            for extra in ((), ('--verify',)):
                self.refused(1, [sparse, 'No space left on device', 'errno 28'], '--filename', sparse, '--rw', 'write',
                             '--overwrite', '--bs', '1m', '--runtime', '30', '--engine', engine, *extra)

    def test_device_without_the_flag(self):
        content = os.urandom(1 << 20)
        image = self.write('device', content)
        attached = subprocess.run(['losetup', '--find', '--show', image], check=True, capture_output=True, text=True)
        device = attached.stdout.strip()
        self.addCleanup(subprocess.run, ['losetup', '--detach', device], check=False)
        self.refused(1, [device, '--overwrite'], '--filename', device, *WRITE)
        self.refused(1, [device, 'block device'], '--filename', 'new', *READ, '--size', '1m', '--output', device)
        with open(image, 'rb') as file:
            self.assertEqual(file.read(), content)
        self.succeed('--filename', device, *WRITE, '--overwrite')

    def test_device_in_use(self):
        done = subprocess.run(['findmnt', '-n', '-o', 'SOURCE', self.mount], check=True, capture_output=True, text=True)
        device = done.stdout.strip()
        self.refused(1, [device, 'mounted or in use', 'errno 16'], '--filename', device, *WRITE, '--overwrite')


if __name__ == '__main__':
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(bench.main())
