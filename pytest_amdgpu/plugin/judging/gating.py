"""How a gate begins and how it ends: what it refuses, and its last word about the exit status."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_amdgpu.plugin.judging.gate import Gate
from pytest_amdgpu.plugin.options import INFRASTRUCTURE, decides
from pytest_amdgpu.plugin.watching import guarding
from pytest_amdgpu.results.must_run import MustRunError, read_contract

PLUGIN = "amdgpu_gate"
_ONLY_SHOWN = {
    "--fixtures": "showfixtures",
    "--fixtures-per-test": "show_fixtures_per_test",
    "--markers": "markers",
}
"""Options of pytest, by their names in `config.option`, whose exit status nobody else has a say about."""
_OWN_PARTS = "amdgpu_"
"""So begin the names under which parts of this plugin are registered, besides the plugin's own."""


def register(config: pytest.Config) -> Gate:
    """Begin to gather as the options say; raises `pytest.UsageError`.

    The file of an earlier run is replaced first of all, so that it cannot be taken for this one's.
    """
    verdict: str | None = config.getoption("--amdgpu-verdict")
    contracts: list[str] = config.getoption("--amdgpu-must-run")
    gathering = Gate(config, Path(verdict).absolute() if verdict else None, decides=decides(config.option))
    try:
        gathering.write()
    except OSError as error:
        raise pytest.UsageError(f"--amdgpu-verdict: {error}") from error
    with gathering.telling_of_refusals():
        if decides(config.option):
            _refuse_what_proves_nothing(config)
        try:
            gathering.demands = tuple(
                demand for contract in contracts for demand in read_contract(Path(contract))
            )
        except (MustRunError, OSError) as error:
            raise pytest.UsageError(f"--amdgpu-must-run: {error}") from error
    config.pluginmanager.register(gathering, PLUGIN)
    return gathering


def _refuse_what_proves_nothing(config: pytest.Config) -> None:
    """Raise `pytest.UsageError` for what makes pytest end with 0 whatever tests would do."""
    for option, name in _ONLY_SHOWN.items():
        if getattr(config.option, name, False):
            raise pytest.UsageError(f"--amdgpu-gate: not with {option}, which runs no test and exits with 0")
    for name in config.option.plugins or ():
        if name.startswith(("no:" + _OWN_PARTS, "no:threadexception")):
            raise pytest.UsageError(f"--amdgpu-gate: not with -p {name}, without which failures are not seen")


def last_word(config: pytest.Config, status: object) -> object:
    """Return the exit status of a gate where pytest's main function returns `status`.

    Other plugins can change that of the session after it was judged, and return before there is one.
    """
    gathering = config.pluginmanager.getplugin(PLUGIN)
    if isinstance(gathering, Gate) and gathering.complete:
        return gathering.exit_status or status
    if status != pytest.ExitCode.OK:
        return status
    if gathering is None and (verdict := config.getoption("--amdgpu-verdict")):
        Gate(config, Path(verdict), decides=True).write()
    if guarding.ADDRESS in config.stash:
        # The guard says so.
        return status
    print("amdgpu: pytest's process ended with 0, and there is no verdict that says so", file=sys.stderr)
    return INFRASTRUCTURE
