"""The plugin's options and markers. The first line of each help text stands alone in `pytest --help`."""

from __future__ import annotations

import argparse
import secrets

import pytest

from pytest_amdgpu.devices.backends import OWN_BACKENDS, installed_backends
from pytest_amdgpu.devices.software import DEFAULT_SOFTWARE

MAX_SEED = (1 << 32) - 1

NEAREST_TARGET_WARNING = "pytest_amdgpu.driver.errors.NearestTargetWarning"

TARGETS_MARKER = "amdgpu_targets"
MARKERS = (
    f"{TARGETS_MARKER}(*targets): run the test only on devices of these gfx targets, such as 'gfx942'; "
    "it is skipped, with that reason, where none is selected.",
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
        metavar="MODEL[:N],...",
        help="Choose the software GPUs, with a number of each. "
        f"Default: the models of --amdgpu-model, or {DEFAULT_SOFTWARE}",
    )
    group.addoption(
        "--amdgpu-model",
        action="append",
        default=[],
        metavar="FILE",
        help="Add the software GPU that this file describes. Can be repeated; "
        "`python -m pytest_amdgpu capture` makes such a file of a real GPU.",
    )
    group.addoption(
        "--amdgpu-nearest-target",
        action="store_true",
        help="Let a GPU whose stepping is unknown run as its nearest relative. "
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
        metavar="FILE",
        help="Record every call at the kernel boundary in this file. "
        "Workers of pytest-xdist add their id to its name.",
    )
    group.addoption(
        "--amdgpu-compiler",
        metavar="PATH",
        help="Compile kernels with this clang, or the one in this directory. "
        "Default: that of $ROCM_PATH, PATH or ziglang.",
    )


def choose_seed(config: pytest.Config) -> int:
    """Return the run's seed: the option's, or a new one."""
    seed: int | None = config.getoption("--amdgpu-seed")
    return secrets.randbelow(MAX_SEED + 1) if seed is None else seed


def _seed(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {MAX_SEED}")
    return value
