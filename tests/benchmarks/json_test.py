#!/usr/bin/env python3
"""A script that reads `fio --output-format=json` reads that of spindle-bench, unchanged: the same code parses both."""
import json
import shutil
import subprocess
import unittest

import bench

JOB = ('--rw=randrw', '--rwmixread=70', '--bs=4k', '--iodepth=4', '--runtime=300ms', '--ramp_time=0', '--time_based',
       '--fsync=32', '--size=8m')
FIO = ('fio', '--name=job', '--ioengine=io_uring', '--direct=1', *JOB)


def figures(text):
    """What such scripts take out of fio's JSON; KeyError where something is missing."""
    report = json.loads(text)
    job = report['jobs'][0]
    found = {'version': report['fio version'], 'time': report['timestamp'], 'name': job['jobname'],
             'error': job['error'], 'usr_cpu': job['usr_cpu'], 'sys_cpu': job['sys_cpu'], 'ctx': job['ctx'],
             'majf': job['majf'], 'minf': job['minf'], 'runtime': job['job_runtime'], 'elapsed': job['elapsed'],
             'syncs': job['sync']['total_ios'], 'sync_mean': job['sync']['lat_ns']['mean'],
             'depth': job['iodepth_level'][str(4)], 'ms': sum(job['latency_ms'].values()),
             'us': sum(job['latency_us'].values()), 'ns': sum(job['latency_ns'].values()),
             'rw': job['job options']['rw']}
    for name in ('read', 'write', 'trim'):
        side = job[name]
        found[name] = {key: side[key] for key in (
            'iops', 'bw', 'bw_bytes', 'io_bytes', 'total_ios', 'runtime', 'iops_min', 'iops_max', 'iops_mean',
            'iops_stddev', 'iops_samples', 'bw_min', 'bw_max', 'bw_mean', 'bw_dev', 'bw_samples', 'bw_agg')}
        for latency in ('slat_ns', 'clat_ns', 'lat_ns'):
            found[name][latency] = {key: side[latency][key] for key in ('min', 'max', 'mean', 'stddev', 'N')}
        if name != 'trim':
            found[name]['p'] = [side['clat_ns']['percentile'][f'{percent:.6f}'] for percent in (50, 95, 99, 99.9, 99.99)]
    return found


class Json(bench.BenchCase):
    def check_figures(self, found):
        self.assertEqual(found['error'], 0)
        self.assertEqual(found['rw'], 'randrw')
        self.assertGreater(found['syncs'], 0)
        self.assertGreater(found['sync_mean'], 0)
        self.assertGreaterEqual(found['usr_cpu'] + found['sys_cpu'], 0)
        self.assertAlmostEqual(found['ns'] + found['us'] + found['ms'], 100, delta=5)
        self.assertGreaterEqual(found['depth'], 0)
        self.assertEqual(found['trim']['total_ios'], 0)
        for name in ('read', 'write'):
            side = found[name]
            self.assertGreater(side['iops'], 0)
            self.assertEqual(side['io_bytes'], side['total_ios'] * 4096)
            self.assertAlmostEqual(side['bw_bytes'], side['iops'] * 4096, delta=side['bw_bytes'] / 50)
            self.assertAlmostEqual(side['bw'], side['bw_bytes'] / 1024, delta=2)
            self.assertEqual(side['p'], sorted(side['p']))
            self.assertLessEqual(side['clat_ns']['min'], side['p'][0])
            self.assertLessEqual(side['clat_ns']['mean'], side['lat_ns']['mean'])
            self.assertLessEqual(abs(side['clat_ns']['N'] - side['total_ios']), 8)

    def test_both_are_read_by_the_same_code(self):
        for engine in ('spindle', 'plain'):
            text = self.succeed('--filename=own', '--engine', engine, *JOB, '--output-format=json')
            self.check_figures(figures(text))
        if shutil.which('fio') is None:
            print('SKIP: the half of this test that reads what fio prints: fio is not installed', flush=True)
            return
        done = subprocess.run([*FIO, '--filename=theirs', '--output-format=json'], cwd=self.folder, check=True,
                              capture_output=True, text=True)
        self.check_figures(figures(done.stdout[done.stdout.index('{'):]))

    def test_ours_has_every_field_of_theirs(self):
        """But for what is not measured here."""
        if shutil.which('fio') is None:
            print('SKIP: fio is not installed', flush=True)
            return
        ours = self.succeed_json('--filename=own', *JOB)
        done = subprocess.run([*FIO, '--filename=theirs', '--output-format=json'], cwd=self.folder, check=True,
                              capture_output=True, text=True)
        theirs = json.loads(done.stdout[done.stdout.index('{'):])
        not_ours = {'jobs[].iodepth_submit', 'jobs[].iodepth_complete'}
        newer_than_fio_3_33 = {'jobs[].job_start', 'disk_util[].read_sectors', 'disk_util[].write_sectors'}
        missing = missing_fields(theirs, ours) - not_ours - newer_than_fio_3_33
        self.assertEqual({name for name in missing if 'job options' not in name}, set())

    def test_their_script_reads_json_plus(self):
        script = shutil.which('fio_jsonplus_clat2csv')
        if script is None:
            print('SKIP: fio_jsonplus_clat2csv is not installed', flush=True)
            return
        if subprocess.run([script, '--help'], check=False, capture_output=True).returncode != 0:
            print('SKIP: fio_jsonplus_clat2csv does not run here (Debian 13 has it without python3-six)', flush=True)
            return
        for name, job in (('mixed', JOB), ('reads', ('--rw=read', '--iodepth=1,8', '--runtime=100ms'))):
            self.succeed('--filename=own', *job, '--size=8m', '--output-format=json+', '--output', name + '.json')
            for extra in ([], ['--validate']):
                subprocess.run([script, name + '.json', name + '.csv', *extra], cwd=self.folder, check=True,
                               capture_output=True)
            with open(self.path(name + '_job0.csv'), encoding='utf-8') as file:
                self.assertGreater(len(file.readlines()), 3)


def missing_fields(theirs, ours, prefix=''):
    """The names in `theirs` that `ours` has not."""
    missing = set()
    for key, value in theirs.items():
        if key not in ours:
            missing.add(prefix + key)
        elif isinstance(value, dict):
            missing |= missing_fields(value, ours[key], prefix + key + '.')
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            missing |= missing_fields(value[0], ours[key][0], prefix + key + '[].')
    return missing


if __name__ == '__main__':
    bench.main()
