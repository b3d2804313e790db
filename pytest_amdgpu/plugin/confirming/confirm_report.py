"""What the report of a test says of its further runs."""

from __future__ import annotations

import pytest

from pytest_amdgpu.plugin.blame import BLAME_PROPERTY, CONFIRMATION_PROPERTY, QUARANTINE_PROPERTY
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.results.confirmation import Blame
from pytest_amdgpu.results.trial import Trial

SECTION = "amdgpu confirmation"
"""Title of what the report of a tear-down says; pytest's terminal does not show that by itself."""


def tell(config: pytest.Config, report: pytest.TestReport, trial: Trial, suspect: str | None) -> None:
    """Say in a report what came out; a suspect is not used any more in this run."""
    blamed = trial.blame
    if blamed is not None:
        report.user_properties += [
            (BLAME_PROPERTY, blamed.value),
            (CONFIRMATION_PROPERTY, ", ".join(map(str, trial.counts))),
        ]
    if trial.attempts or trial.notes:
        report.sections.append((SECTION, trial.text))
    if blamed is Blame.DEVICE_SUSPECT and suspect is not None:
        reason = f"{report.nodeid} {trial.text.splitlines()[0]}"
        config.stash[session_key].quarantine.add(suspect, reason)
        report.user_properties.append((QUARANTINE_PROPERTY, [suspect, reason]))
