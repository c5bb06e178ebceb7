#!/usr/bin/env python3
"""What is installed is enough for a project of a user's: the example of docs/SIMULATION.md, outside of the tree.

    install_test.py SOURCE BUILD COMPILER [meson option ...]

Installs BUILD to a folder of its own, copies examples/counter beside it, builds it there against the installed headers,
libraries and pkg-config files, and runs its tests. Then plants the bug of the guide, and checks that the example's own
fuzzer finds it, that it shrinks to a handful of events, and that the printed command repeats it; the guide's one, too.
The programs that are installed run.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# Where the guide says: "take this line out".
BUG_LINE = '  co_await ok(file_.sync_data());\n'
FAILURE = 'an acknowledged value is gone'
EVENTS_LEFT_MAX = 6


def run(command, status=0, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500, **options)
    print('$', ' '.join(map(str, command)), f'\n{done.stdout}', flush=True)
    if done.returncode != status:
        raise SystemExit(f'exit status {done.returncode}, not {status}: {" ".join(map(str, command))}')
    return done.stdout


def install(build, folder):
    run(['meson', 'install', '-C', build, '--destdir', folder, '--no-rebuild', '--quiet'])
    packages = sorted(folder.rglob('spindle*.pc'))
    if [package.name for package in packages] != ['spindle-fuzz.pc', 'spindle.pc']:
        raise SystemExit(f'installed pkg-config files: {packages}')
    # A build folder that was set up before these files were relocatable.
    for package in packages:
        package.write_text(re.sub(r'^prefix=/', f'prefix={folder}/', package.read_text(), flags=re.MULTILINE))
    environment = dict(os.environ)
    environment['PKG_CONFIG_PATH'] = str(packages[0].parent)
    environment['LD_LIBRARY_PATH'] = str(packages[0].parent.parent)
    return environment


def check_programs(installed, folder, environment):
    """That of services/, where it was built."""
    for program in installed.rglob('bin/spindle-store'):
        for words in (['format', 'store', '--size', '16M'], ['inspect', 'store'], ['verify', 'store']):
            run([program, *words], cwd=folder, env=environment)


def plant_bug(source):
    text = source.read_text()
    if text.count(BUG_LINE) != 1:
        raise SystemExit(f'the line of the guide stands {text.count(BUG_LINE)} times in {source.name}, not once')
    source.write_text(text.replace(BUG_LINE, ''))


def arguments_of(text, where):
    """Of the command that repeats a failure."""
    found = re.findall(r'^ *FAILED\. To repeat: \S*counter-fuzz (.*)$', text, re.MULTILINE)
    if not found:
        raise SystemExit(f'no command that repeats a failure in {where}')
    return found[-1].split()


def check_bug_is_found(folder, guide):
    fuzz = './counter-fuzz'
    found = run([fuzz, 'counter', '--minimize'], status=1, cwd=folder)
    left = re.search(r'^counter: (\d+) of \d+ events are left', found, re.MULTILINE)
    if left is None or int(left[1]) > EVENTS_LEFT_MAX:
        raise SystemExit(f'not shrunk to at most {EVENTS_LEFT_MAX} events')
    for arguments in (arguments_of(found, 'the output'), arguments_of(guide.read_text(), guide.name)):
        if FAILURE not in run([fuzz, *arguments], status=1, cwd=folder):
            raise SystemExit('another failure than before')


def main():
    source, build, compiler = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    options = sys.argv[4:]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        environment = install(build, folder / 'installed')
        environment['CXX'] = compiler
        project = folder / 'counter'
        shutil.copytree(source / 'examples' / 'counter', project)
        run(['meson', 'setup', 'build', *options], cwd=project, env=environment)
        run(['ninja', '-C', 'build'], cwd=project, env=environment)
        run(['meson', 'test', '-C', 'build', '--print-errorlogs'], cwd=project, env=environment)
        program = [project / 'build' / 'counter', folder / 'file']
        for amount, value in (('5', '5'), ('7', '12'), ('0', '12')):
            if run([*program, amount], env=environment).split()[-1] != value:
                raise SystemExit('the counter counts wrong on the ring')
        check_programs(folder / 'installed', folder, environment)
        plant_bug(project / 'counter.cpp')
        run(['ninja', '-C', 'build', 'counter-fuzz'], cwd=project, env=environment)
        os.environ['LD_LIBRARY_PATH'] = environment['LD_LIBRARY_PATH']
        check_bug_is_found(project / 'build', source / 'docs' / 'SIMULATION.md')
    return 0


if __name__ == '__main__':
    sys.exit(main())
