"""The plugin's options and markers. The first line of each help text stands alone in `pytest --help`."""

from __future__ import annotations

import argparse
import math
import secrets
import sys
import warnings

import pytest

from pytest_amdgpu.devices.backends import OWN_BACKENDS, installed_backends
from pytest_amdgpu.devices.software import DEFAULT_SOFTWARE
from pytest_amdgpu.emulator.behaviour import BEHAVIOUR_NAMES, DEFAULT_BEHAVIOUR
from pytest_amdgpu.results.verdict import EXIT_STATUS, Verdict

MAX_SEED = (1 << 32) - 1
MAX_CONFIRMATIONS = 1000
LEASE_KINDS = ("exclusive", "shared", "none")
HEALTH_CHOICES = ("auto", "on", "off")
QUARANTINE_CHOICES = ("run", "machine")
INFRASTRUCTURE = EXIT_STATUS[Verdict.INFRASTRUCTURE]
"""Exit status of a run that the machine kept from testing anything."""

HEARTBEAT = "amdgpu_heartbeat"
"""Under this name the plugin is registered that tells the supervisor what this process is at."""

NO_PHASE = "between"
DEADLINES = {
    "setup": 120.0,
    "test": 300.0,
    "teardown": 60.0,
    "collection": 600.0,
    "end": 120.0,
    NO_PHASE: 600.0,
}
"""Seconds that each phase of a test may take in a supervised run, collection, the end of the session, and
what pytest and its plugins do in none of these, from one sign of life to the next."""

NEAREST_TARGET_WARNING = "pytest_amdgpu.driver.errors.NearestTargetWarning"

WARNINGS_OF_GATES = (
    pytest.PytestReturnNotNoneWarning,
    pytest.PytestUnhandledThreadExceptionWarning,
    pytest.PytestCollectionWarning,
)
"""What a gate takes for a failure: a test that checks nothing, fails in a thread, or is not collected."""

SOFTWARE_OPTIONS = (
    "--amdgpu-software",
    "--amdgpu-software-kernel",
    "--amdgpu-hostile",
    "--amdgpu-model",
)
"""Options that mean nothing to GPUs that are no software."""

TARGETS_MARKER = "amdgpu_targets"
GROUP_MARKER = "amdgpu"
MARKERS = (
    f"{GROUP_MARKER}(family=..., target=..., features=[...], vram='16GiB', devices=2, relation=...): what "
    "the test needs of its device, or of each of its devices, and which relation each two of those must "
    "have ('peers', 'hive' or 'same_family'). It runs where that is met; elsewhere it is not applicable, "
    "with the reason.",
    f"{TARGETS_MARKER}(*targets): short for {GROUP_MARKER}(target=[...]): run the test only on devices of "
    "these gfx targets, such as 'gfx942'.",
)


def add_options(parser: pytest.Parser) -> None:
    """Add the group `amdgpu` to the command line."""
    group = parser.getgroup("amdgpu", "AMD GPUs")
    group.addoption(
        "--amdgpu-all-devices",
        action="store_true",
        help="Run each GPU test on every device. Without it: on the first one.",
    )
    group.addoption(
        "--amdgpu-device",
        action="append",
        default=[],
        metavar="ID|gfxNNN|N",
        help="Run GPU tests on this device. Can be repeated; an id or PCI address as the header shows it, "
        "a target (its first device, or all with --amdgpu-all-devices), or a number counting from 0.",
    )
    group.addoption(
        "--amdgpu-backend",
        default="auto",
        metavar="|".join([*OWN_BACKENDS, *installed_backends()]),
        help="Use hardware or software GPUs. auto (default): hardware if /dev/kfd is usable, else software. "
        "Further names are those of backends that other packages have installed.",
    )
    group.addoption(
        "--amdgpu-software",
        metavar="MODEL[+OPTION][:N],...",
        help="Choose the software GPUs, with options such as small-bar, and a number of each. "
        f"Default: the models of --amdgpu-model, or {DEFAULT_SOFTWARE}",
    )
    group.addoption(
        "--amdgpu-software-kernel",
        choices=BEHAVIOUR_NAMES,
        help=f"Choose the kernel driver that software GPUs behave as. Default: {DEFAULT_BEHAVIOUR}",
    )
    group.addoption(
        "--amdgpu-hostile",
        type=_seed,
        metavar="SEED",
        help="Let software GPUs have hostile timing: evictions, lost doorbells, late interrupts, signals, "
        "a topology that changes.",
    )
    group.addoption(
        "--amdgpu-inject",
        action="append",
        default=[],
        metavar="DEFECT[:OPTION=VALUE,...]@DEVICE",
        help="Let software GPUs fail. Can be repeated; --amdgpu-inject=help lists the defects.",
    )
    group.addoption(
        "--amdgpu-model",
        action="append",
        default=[],
        type=_path,
        metavar="FILE",
        help="Add the software GPU that this file describes. Can be repeated; "
        "`python -m pytest_amdgpu capture` makes such a file of a real GPU.",
    )
    group.addoption(
        "--amdgpu-nearest-target",
        action="store_true",
        help="Let a GPU whose stepping or packets are unknown run as its nearest relative. "
        "Without it: such a GPU is refused.",
    )
    group.addoption(
        "--amdgpu-seed",
        type=_seed,
        metavar="N",
        help="Seed the fixture `rng` with this number. Default: another one in each run, see the header.",
    )
    group.addoption(
        "--amdgpu-trace",
        type=_path,
        metavar="FILE",
        help="Record every call at the kernel boundary in this file. "
        "Workers of pytest-xdist add their id to its name.",
    )
    group.addoption(
        "--amdgpu-gate",
        action="store_true",
        help="Let the exit status be a verdict: 0 good, 1 regression, 4 usage, 10 infrastructure, 11 "
        "something that must run did not. Without a GPU, or if every test was skipped, it is never 0; "
        "software GPUs count only if they are asked for by name.",
    )
    group.addoption(
        "--amdgpu-verdict",
        type=_path,
        metavar="FILE",
        help="Write the verdict, with a record of each test, as JSON. The file is whole at every moment of "
        "the run, and says whether the run has come to its end.",
    )
    group.addoption(
        "--amdgpu-attachments",
        type=_path,
        metavar="DIR",
        help="Write for each failing test a folder of files in this directory: traceback, output, what is "
        "known of the GPU, and what the test attached. Default: FILE-attachments with --amdgpu-verdict=FILE.",
    )
    group.addoption(
        "--amdgpu-must-run",
        action="append",
        default=[],
        type=_path,
        metavar="FILE",
        help="Be a gate that also demands what this TOML file names: devices, tests and numbers of tests. "
        "Can be repeated, and all must be met.",
    )
    group.addoption(
        "--amdgpu-supervise",
        action="store_true",
        help="Let a process outside of pytest's watch that tests end, and end those that do not. Runs whose "
        "results are judged have it in any case.",
    )
    group.addoption(
        "--amdgpu-deadline",
        type=_deadlines,
        metavar="setup=S,test=S,...",
        help="Supervise, with these seconds (or none) for set-up, test, tear-down, collection, the end, "
        "and for what plugins do between these. "
        f"Default: {','.join(f'{name}={seconds:g}' for name, seconds in DEADLINES.items())}. "
        "A timeout of pytest-timeout goes before that of the test.",
    )
    group.addoption(
        "--amdgpu-expectations",
        type=_path,
        metavar="DIR",
        help="Judge results by the expectation files in this directory: tests that are known to fail or to "
        "be flaky, and tests not to be run, on all GPUs, a generation, a target or a product.",
    )
    group.addoption(
        "--amdgpu-confirm",
        type=_times,
        metavar="N",
        help="Run a failing test again, N times on its device and N times on another one of its target, "
        "to see whether it is a regression, a flake or the device. 0: never. "
        "Default: as often as it needs, if there is another device.",
    )
    group.addoption(
        "--amdgpu-health",
        choices=HEALTH_CHOICES,
        default=HEALTH_CHOICES[0],
        help="Check that devices work: before the first test, after each test that failed, and at the end. "
        "One that does not is used no more. auto (default): on hardware and in a gate.",
    )
    group.addoption(
        "--amdgpu-quarantine",
        choices=QUARANTINE_CHOICES,
        default=QUARANTINE_CHOICES[0],
        help="How long a device that failed is not used. run (default): to the end of the run. machine: by "
        "no later run either, until `python -m pytest_amdgpu devices --release ID`.",
    )
    group.addoption(
        "--amdgpu-lease",
        choices=LEASE_KINDS,
        default=LEASE_KINDS[0],
        help="How to lease the GPUs that tests use. exclusive (default): no other run has them meanwhile. "
        "shared: runs that share them, too, may. none: do not ask who else is there.",
    )
    group.addoption(
        "--amdgpu-lease-timeout",
        type=_seconds,
        default=600.0,
        metavar="SECONDS",
        help="Wait this long for GPUs that others have leased (default: 600). "
        f"A run that waits longer tests nothing and exits with {INFRASTRUCTURE}.",
    )
    group.addoption(
        "--amdgpu-lease-directory",
        type=_path,
        metavar="DIR",
        help="Keep leases in this directory, which all that use the GPUs must share. "
        "Default: /run/lock/pytest-amdgpu. Software GPUs are leased only if it is given.",
    )
    group.addoption(
        "--amdgpu-progress",
        choices=("auto", "on", "off"),
        default="auto",
        help="Show tests, rate, time left and devices in use: in a terminal behind what pytest writes, "
        "elsewhere as a line every 30 seconds. auto (default): not with -q or -s.",
    )
    group.addoption(
        "--amdgpu-compiler",
        type=_path,
        metavar="PATH",
        help="Compile kernels with this clang, or the one in this directory. "
        "Default: that of $ROCM_PATH, PATH or ziglang.",
    )


def refuse_software_options(config: pytest.Config, used: str) -> None:
    """Raise `pytest.UsageError` for options of software GPUs where the run uses other ones, as `used` says.

    They would do nothing, and who gave them takes the results for those of another GPU.
    """
    given = [option for option in SOFTWARE_OPTIONS if config.getoption(option) not in (None, [])]
    if given:
        raise pytest.UsageError(
            f"{', '.join(given)}: for software GPUs only, but this run uses {used}; add"
            " --amdgpu-backend=software to run on software GPUs"
        )


def is_supervised(option: argparse.Namespace) -> bool:
    """Whether a supervisor watches the run, of which this process may be any part."""
    names = ("amdgpu_gate", "amdgpu_verdict", "amdgpu_must_run", "amdgpu_supervise", "amdgpu_deadline")
    return any(getattr(option, name) for name in names) and not option.collectonly


def decides(option: argparse.Namespace) -> bool:
    """Whether the verdict is the exit status of the run."""
    return option.amdgpu_gate or bool(option.amdgpu_must_run)


def refuse_optimized(config: pytest.Config) -> None:
    """Raise `pytest.UsageError` where tests pass that fail; workers can differ from their controller."""
    if sys.flags.optimize and decides(config.option):
        raise pytest.UsageError(
            "--amdgpu-gate: Python ignores assert statements (-O, PYTHONOPTIMIZE): tests pass that fail"
        )


def take_warnings_for_errors(config: pytest.Config) -> None:
    """Let tests and collection fail where pytest only warns of what no gate can pass.

    `-W ignore` does not change that: it is meant for other warnings. A test's own mark may.
    """
    known = config.known_args_namespace
    if not config.pluginmanager.hasplugin("warnings"):
        # Nobody reads the options then.
        for warning in WARNINGS_OF_GATES:
            warnings.simplefilter("error", warning)
        return
    known.pythonwarnings = [
        *(known.pythonwarnings or ()),
        *(f"error::pytest.{warning.__name__}" for warning in WARNINGS_OF_GATES),
    ]


def is_worker(config: pytest.Config) -> bool:
    """Whether this is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def wants_verdict(config: pytest.Config) -> bool:
    """Whether results are to be judged, and in this process."""
    options = ("--amdgpu-gate", "--amdgpu-verdict", "--amdgpu-must-run")
    return any(map(config.getoption, options)) and not hasattr(config, "workerinput")


def wants_attachments(config: pytest.Config) -> bool:
    """Whether failing tests leave files."""
    return any(
        config.getoption(option) is not None for option in ("--amdgpu-attachments", "--amdgpu-verdict")
    )


def wants_junit(config: pytest.Config) -> bool:
    """Whether pytest writes a JUnit file, and in this process."""
    return bool(config.getoption("xmlpath", None)) and not hasattr(config, "workerinput")


def choose_seed(config: pytest.Config) -> int:
    """Return the run's seed: the option's, or a new one."""
    seed: int | None = config.getoption("--amdgpu-seed")
    return secrets.randbelow(MAX_SEED + 1) if seed is None else seed


def _path(text: str) -> str:
    """Refuse an empty text, which a variable that is not set leaves: nothing would be read or written."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a file or directory, or leave the option out")
    return text


def _deadlines(text: str) -> dict[str, float]:
    deadlines = dict(DEADLINES)
    for part in text.split(","):
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if name not in DEADLINES or not sign:
            allowed = ", ".join(f"{name}=SECONDS" for name in DEADLINES)
            raise argparse.ArgumentTypeError(f"{part!r} is not one of {allowed}")
        try:
            deadlines[name] = math.inf if value == "none" else _seconds(value) or math.nan
        except argparse.ArgumentTypeError:
            deadlines[name] = math.nan
        if math.isnan(deadlines[name]):
            raise argparse.ArgumentTypeError(
                f"{part!r} is not a number of seconds above 0; 'none' lifts the limit"
            )
    return deadlines


def _times(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= MAX_CONFIRMATIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {MAX_CONFIRMATIONS}")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 on")
    return value


def _seed(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {MAX_SEED}")
    return value
