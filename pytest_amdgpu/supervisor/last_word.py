"""The verdict of a run whose pytest cannot tell it, from what the supervisor was told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_amdgpu.results.confirmation import Count
from pytest_amdgpu.results.expectations import bare_name
from pytest_amdgpu.results.node_ids import devices_in
from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.verdict import Judgment, judge_run
from pytest_amdgpu.results.verdict_file import verdict_json, write_verdict

_FROM_THE_FILE = ("schema", "complete", "verdict", "exit_status", "reasons", "counts", "tests")
"""What a file says of its results; all else of it is about the run."""


class Results:
    """What is known of each test of a run."""

    def __init__(self) -> None:
        self.devices: tuple[str, ...] = ()
        self._records: dict[str, Record] = {}

    def expect(self, ids: Sequence[str]) -> None:
        """Know of tests before there is a result."""
        for node_id in ids:
            self._records.setdefault(node_id, self._blank(node_id))

    def take(self, values: Mapping[str, Any]) -> None:
        """Know what became of a test."""
        record = Record(
            **{
                **values,
                "devices": tuple(values["devices"]),
                "attachments": tuple(values["attachments"]),
                "confirmation": tuple(Count(**count) for count in values.get("confirmation", ())),
                "outcome": Outcome(values["outcome"]),
                "trust": Trust(values["trust"]),
            }
        )
        self._records[record.id] = record

    def was_running(self, node_id: str, outcome: Outcome, trust: Trust, text: str) -> None:
        """Know what became of the test that ran when its process died, if nobody has told worse of it."""
        record = self._records.get(node_id) or self._blank(node_id)
        if not record.outcome.bad or record.outcome is Outcome.MISSING:
            self._records[node_id] = replace(record, outcome=outcome, trust=trust, expected="", text=text)

    def judge(self, troubles: Sequence[str]) -> Judgment:
        """Judge the run: it did not come to its end, so it is not good."""
        return judge_run(list(self._records.values()), (), troubles)

    def write(self, path: Path, facts: Mapping[str, Any], judgment: Judgment) -> None:
        """Write the verdict in place of the one that pytest wrote last; raises OSError.

        What that one says of the run stands; `facts` are for where it cannot be read.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            facts = {key: value for key, value in content.items() if key not in _FROM_THE_FILE}
        except (OSError, ValueError, AttributeError):
            pass
        write_verdict(path, verdict_json(judgment, list(self._records.values()), facts, complete=True))

    def _blank(self, node_id: str) -> Record:
        devices = devices_in(node_id, self.devices)
        return Record(node_id, bare_name(node_id, self.devices), devices, Outcome.MISSING)
