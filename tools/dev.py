"""Set up what is missing, then run the demo, the tests, a server or the benchmarks.

    python tools/dev.py demo                    before/after pictures, scores and costs in output/demo
    python tools/dev.py test [--suite NAME]     the tests, or a longer suite (tools/suites.py); after `--`, arguments for pytest
    python tools/dev.py types                   mypy on the rooms that are fully typed
    python tools/dev.py serve [--port N]        ComfyUI with this pack; after `--`, arguments for its main.py
    python tools/dev.py bench [NAME ...]        benchmarks/NAME.py, or all of them; after `--`, arguments for them

A ComfyUI that is there is used with its Python, and both are left as they are: the one of --comfyui PATH, the one in whose
custom_nodes this folder is, or the one that comfy-cli knows. Otherwise (or with --own) a first run makes .venv and fetches a ComfyUI
into .comfyui (8 GB on Linux, minutes); the next ones start at once.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  (whoever has an older one should be told)
    sys.exit(
        "Python 3.10 or later is needed, this is "
        + sys.version.split()[0]
        + ". Start tools/dev.py with a newer one."
    )

import browser
from bootstrap import HOME, ROOT, SetupError, find_place, say
from comfy_server import ComfyServer, ServerError, base_directory, free_port, link_folder
from pack import NAME
from suites import SUITES

PLOTS = {"matplotlib": "matplotlib"}
TESTS = {
    "pytest": "pytest",
    "xdist": "pytest-xdist",
    "hypothesis": "hypothesis",
    "open_clip": "open_clip_torch",
    "timm": "timm",
}
BROWSER = {"playwright": "playwright"}
MOST_WORKERS = 4  # each one loads ComfyUI, and starts a server where its tests need one
TYPED = ("search", "sampling", "session", "verifiers")


def main(arguments):
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options, extra = _parse(arguments[:split]), arguments[split + 1 :]
    try:
        run, needs = COMMANDS[options.command]
        if getattr(options, "suite", None) == "browser":
            browser.prepare()
            needs = {**needs, **BROWSER}
        # Not resolved: a link in custom_nodes counts as being there.
        root = Path(os.path.abspath(__file__)).parent.parent
        return run(find_place(root, needs, options.comfyui, options.python, options.own), options, extra)
    except (SetupError, ServerError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{demo,test,types,serve,bench}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--comfyui", type=Path, metavar="PATH", help="use the ComfyUI in this folder (the one with main.py)"
    )
    common.add_argument(
        "--python", type=Path, metavar="FILE", help="that ComfyUI's Python, when it is not found beside it"
    )
    common.add_argument(
        "--own", action="store_true", help="use a ComfyUI of our own, even where there is another"
    )
    commands.add_parser("demo", parents=[common], help="before/after pictures in output/demo")
    test = commands.add_parser("test", parents=[common], help="run the tests")
    test.add_argument("--slow", action="store_true", help="those of the longer suites too")
    test.add_argument("--suite", choices=SUITES, help="only those of this longer suite")
    commands.add_parser("types", parents=[common], help="check the types")
    commands.add_parser("serve", parents=[common], help="start ComfyUI with this pack").add_argument(
        "--port", type=int, default=8188
    )
    commands.add_parser("bench", parents=[common], help="run benchmarks").add_argument(
        "names", nargs="*", help="all of them if none is named"
    )
    return parser.parse_args(arguments)


def _demo(place, options, extra):
    return _run(place, ["tools/demo.py", *extra])


def _test(place, options, extra):
    selected = options.suite or " and ".join(f"not {name}" for name in SUITES)
    named = any(
        Path(ROOT, argument.split("::")[0]).exists() for argument in extra if not argument.startswith("-")
    )
    command = ["-m", "pytest", "-c", "tests/pytest.ini"]
    command += [] if options.slow else ["-m", selected]
    command += [] if named else [*_workers(extra), "tests"]
    return _run(place, [*command, *extra])


def _workers(extra) -> list[str]:
    """pytest's arguments for several processes; none for a debugger, which wants one."""
    if {"--pdb", "--trace", "-s"} & set(extra):
        return []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ["-n", str(min(cores, MOST_WORKERS)), "--dist", "loadfile"]


def _types(place, options, extra):
    """mypy, on the pack under a name: its rooms import each other relatively, and its folder may be called anything."""
    rooms = [argument for room in TYPED for argument in ("-p", f"{NAME}.{room}")]
    cache = Path(".cache", "mypy")
    link_folder(ROOT / cache / NAME, ROOT)
    command = ["-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", str(cache / "cache")]
    return _run(place, [*command, *rooms, *extra], MYPYPATH=str(cache))


def _serve(place, options, extra):
    base = None if place.has_pack else base_directory(HOME / "base")
    if base and not place.own:
        say(
            f"this pack is not in {place.comfyui / 'custom_nodes'}, so ComfyUI runs in {base}, without your models and other packs. Link this folder there to have both."
        )
    port = free_port(options.port)
    say("starting ComfyUI")
    server = ComfyServer(
        place.comfyui, base, python=place.python, port=port, cpu=place.own, arguments=extra
    ).start(timeout=900)  # other packs of the user may be slow
    try:
        say(
            f"ComfyUI is at {server.url} - the demo is a_first_search in its Templates, under Extensions, noise-search. Ctrl-C ends it."
        )
        return server.process.wait()
    finally:
        server.stop()


def _bench(place, options, extra):
    scripts = {script.stem: script for script in sorted((ROOT / "benchmarks").glob("[!_]*.py"))}
    unknown = [name for name in options.names if name not in scripts]
    if unknown:
        raise SetupError(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(scripts)}.")
    for name in options.names or scripts:
        say(f"benchmarks/{name}.py")
        code = _run(place, [str(scripts[name]), *extra])
        if code:
            return code
    return 0


def _run(place, arguments, **variables) -> int:
    """Run a Python child in the repository's root and return its exit code."""
    environment = {
        "OMP_NUM_THREADS": "1",
        **os.environ,
        **variables,
        "NOISESEARCH_COMFYUI": str(place.comfyui),
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.run([str(place.python), *arguments], cwd=ROOT, env=environment).returncode


COMMANDS = {  # what is run, and the packages that it needs besides ComfyUI's
    "demo": (_demo, PLOTS),
    "test": (_test, TESTS),
    "types": (_types, {"mypy": "mypy"}),
    "serve": (_serve, {}),
    "bench": (_bench, PLOTS),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
