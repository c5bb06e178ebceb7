#!/usr/bin/env python3
"""Every option of spindle-bench on every engine that has it: that it does what it says, never how fast."""
import re
import shutil
import unittest

import bench

QUICK = ('--runtime', '100ms', '--ramp_time', '0', '--size', '4m', '--bs', '4k', '--iodepth', '4')
OWN = ('spindle', 'plain')


class Jobs(bench.BenchCase):
    def engines(self):
        if shutil.which('fio') is None:
            print('SKIP: the runs of fio: it is not installed', flush=True)
            return OWN
        return (*OWN, 'fio')

    def job(self, engine, *arguments):
        return self.succeed_json('--filename', 'f', '--engine', engine, *QUICK, *arguments)['jobs'][0]

    def test_mixes(self):
        for engine in self.engines():
            for pattern in ('rw', 'randrw'):
                job = self.job(engine, '--rw', pattern, '--rwmixread', 80)
                reads, writes = job['read']['total_ios'], job['write']['total_ios']
                self.assertGreater(reads, 2 * writes, engine)
                self.assertGreater(writes, 0, engine)
        job = self.job('spindle', '--rw', 'randrw', '--rwmixread', 100, '--number_ios', 100)
        self.assertEqual(job['write']['total_ios'], 0)

    def test_threads_add_up(self):
        for engine in self.engines():
            job = self.job(engine, '--rw', 'randread', '--numjobs', 3, '--number_ios', 200)
            self.assertGreaterEqual(job['read']['total_ios'], 600 if engine != 'fio' else 1, engine)

    def test_threads_with_a_block_each(self):
        for engine in OWN:
            job = self.job(engine, '--size', '16k', '--iodepth', 1, '--numjobs', 4, '--rw', 'write', '--verify')
            self.assertEqual(job['verified_blocks'], 4)

    def test_fsyncs_are_counted(self):
        for engine in self.engines():
            arguments = ['--filename', 'f', '--engine', engine, *QUICK, '--rw', 'randwrite', '--fsync', 10]
            if engine == 'fio' and 'Invalid argument: sync' in self.run_bench(*arguments).stderr:
                print('SKIP: this fio can not sync a registered file (seen with 3.39)', flush=True)
                continue
            job = self.succeed_json(*arguments)['jobs'][0]
            self.assertGreater(job['sync']['total_ios'], 0, engine)
            if engine != 'fio':
                self.assertAlmostEqual(job['sync']['total_ios'], job['write']['total_ios'] / 10, delta=8)

    def test_durable_writes(self):
        for engine in self.engines():
            self.assertGreater(self.job(engine, '--rw', 'write', '--sync', 'dsync')['write']['total_ios'], 0, engine)

    def test_rate_is_an_upper_bound(self):
        for engine in self.engines():
            job = self.job(engine, '--rw', 'randread', '--rate_iops', 100, '--runtime', '500ms')
            self.assertLessEqual(job['read']['total_ios'], 60, engine)
            self.assertGreater(job['read']['total_ios'], 0, engine)

    def test_number_of_operations(self):
        for engine in OWN:
            for extra in ((), ('--verify',), ('--rate_iops', 100000)):
                job = self.job(engine, '--rw', 'randwrite', '--number_ios', 50, '--runtime', '20', *extra)
                self.assertLessEqual(abs(job['write']['total_ios'] - 50), 4, engine)

    def test_verify_reads_all_back(self):
        for engine in OWN:
            for threads in (1, 2):
                for pattern in ('write', 'randwrite', 'rw', 'randrw'):
                    job = self.job(engine, '--rw', pattern, '--verify', '--numjobs', threads)
                    self.assertGreater(job['verified_blocks'], 0, (engine, pattern))
            self.assertGreater(self.job(engine, '--rw', 'randread', '--verify')['verified_blocks'], 0)
        if 'fio' in self.engines():
            self.job('fio', '--rw', 'randwrite', '--verify')

    def test_verify_names_the_block_that_changed(self):
        for engine in OWN:
            with self.subTest(engine=engine):
                self.job(engine, '--rw', 'write', '--verify')
                self.job(engine, '--rw', 'read', '--verify')
                self.damage(300 * 4096 + 3000, b'x')
                self.find_damage(engine, 'block at offset 1228800: its checksum')
                self.job(engine, '--rw', 'write', '--verify', '--runtime', '1')
                self.damage(300 * 4096, self.content(301 * 4096, 4096))
                self.find_damage(engine, 'block at offset 1228800 holds the block of offset 1232896')
                self.damage(300 * 4096, bytes(4096))
                self.find_damage(engine, 'block at offset 1228800 has no stamp')
                self.job(engine, '--rw', 'rw', '--verify')  # writes everything once first

    def find_damage(self, engine, words):
        self.refused(1, ['verify: ' + words], '--filename', 'f', '--engine', engine, *QUICK, '--rw', 'read', '--verify',
                     '--runtime', '5')

    def damage(self, offset, content):
        with open(self.path('f'), 'r+b') as file:
            file.seek(offset)
            file.write(content)

    def content(self, offset, size):
        with open(self.path('f'), 'rb') as file:
            file.seek(offset)
            return file.read(size)

    def test_engines_do_what_was_asked(self):
        """Their own count and that of the disk agree, where the disk counts."""
        for engine in OWN:
            report = self.succeed_json('--filename', 'f', '--engine', engine, *QUICK, '--rw', 'randread')
            for disk in report.get('disk_util', []):
                self.assertGreaterEqual(disk['read_ios'], 1)
                self.assertLessEqual(disk['util'], 100)

    def test_capabilities(self):
        text = self.succeed('--capabilities')
        for word in ('io_uring on Linux', 'registered buffers', 'DEFER_TASKRUN'):
            self.assertIn(word, text)

    def test_text_of_a_job(self):
        text = self.succeed('--filename', 'f', *QUICK, '--rw', 'randrw', '--verify')
        for word in ('machine', 'alignment', 'in use', 'p50', 'p99.99', 'max', 'CPU per I/O', 'switches', 'verified'):
            self.assertIn(word, text)


class Report(bench.BenchCase):
    def page(self, *arguments, name='f'):
        note = '' if shutil.which('gnuplot') else 'gnuplot is not installed'
        done = self.run_bench('--filename', name, *QUICK, *arguments, '--report', 'page.html')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(note, done.stderr)
        self.assertEqual(done.stderr.count('\n'), 1 if note else 0, done.stderr)
        with open(self.path('page.html'), encoding='utf-8') as file:
            return file.read()

    def test_page_is_self_contained(self):
        page = self.page('--rw', 'randread', '--compare', '--rounds', 1, '--iodepth', '1,4')
        for word in ('plain loop', 'spindle', 'alignment', 'file system', '--iodepth 4', 'p99.99'):
            self.assertIn(word, page)
        # Nothing is fetched: no link, script or image, and no address but the names of XML's dialects.
        self.assertEqual(re.findall(r'<(?:link|script|img|iframe)', page), [])
        self.assertEqual([url for url in re.findall(r'https?://[^"\s<]+', page) if 'www.w3.org' not in url], [])
        if shutil.which('gnuplot') is None:
            print('SKIP: the plots: gnuplot is not installed', flush=True)
            self.assertIn('gnuplot is not installed', page)
        else:
            self.assertGreaterEqual(page.count('<svg'), 5)
            self.assertIn('queue depth', page)

    def test_page_of_one_job(self):
        page = self.page('--rw', 'randrw', '--engine', 'plain')
        self.assertIn('randrw', page)

    def test_names_are_escaped(self):
        page = self.page('--rw', 'read', name='a<b>&"c')
        self.assertNotIn('a<b>', page)
        self.assertIn('a&lt;b&gt;&amp;', page)


if __name__ == '__main__':
    bench.main()
