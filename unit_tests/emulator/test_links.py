"""Links of machines with several GPUs, against what kfd_crat.c and kfd_topology.c of Linux 6.12 compute.

Numbers are worked out by hand: a hop of XGMI weighs 15, a link between partitions 13, from partition to
another socket 13 + 15 + 13 = 41, a way over PCIe 20. Engines 0 and 1 serve PCIe on all GPUs here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import Model, model

NODES = "/sys/devices/virtual/kfd/kfd/topology/nodes"


def properties(kernel: EmulatedKernel, path: str) -> dict[str, int]:
    lines = kernel.read_text(f"{NODES}/{path}/properties").splitlines()
    return {key: int(value) for key, value in (line.split(" ") for line in lines)}


class Links:
    """The links of a machine, read as a driver reads them."""

    def __init__(self, *models: str | Model) -> None:
        made = [model(name) if isinstance(name, str) else name for name in models]
        kernel = EmulatedKernel(made)
        self.hives = [properties(kernel, str(node))["hive_id"] for node in range(1, len(made) + 1)]
        self.found: dict[tuple[int, int], dict[str, Any]] = {}
        for node in range(len(made) + 1):
            for kind in ("io", "p2p"):
                for entry in kernel.listdir(f"{NODES}/{node}/{kind}_links"):
                    link = properties(kernel, f"{node}/{kind}_links/{entry}")
                    key = (link["node_from"], link["node_to"])
                    assert key not in self.found
                    self.found[key] = link | {"kind": kind}
        kernel.shutdown()

    def weight(self, source: int, target: int) -> int:
        value: int = self.found[source, target]["weight"]
        return value

    def engines(self, source: int, target: int) -> int:
        value: int = self.found[source, target]["recommended_sdma_engine_id_mask"]
        return value


def small_bar(name: str) -> Model:
    known = model(name)
    return replace(known, mem_banks=tuple({**bank, "heap_type": 2} for bank in known.mem_banks))


def test_a_full_hive_has_one_engine_per_link() -> None:
    links = Links(*["mi300x"] * 8)
    assert len(set(links.hives)) == 1
    assert links.hives[0]
    pairs = [(a, b) for a in range(1, 9) for b in range(1, 9) if a != b]
    assert all(links.found[pair]["type"] == 11 and links.weight(*pair) == 15 for pair in pairs)
    # First and third row of rec_sdma_eng_map in kfd_topology.c.
    assert [links.engines(1, node).bit_length() - 1 for node in range(2, 9)] == [14, 12, 2, 4, 8, 10, 6]
    assert [links.engines(3, node).bit_length() - 1 for node in (1, 2, 4, 5, 6, 7, 8)] == [
        10,
        2,
        12,
        14,
        6,
        4,
        8,
    ]
    assert all(links.engines(*pair).bit_count() == 1 for pair in pairs)
    assert not any(link["kind"] == "p2p" for link in links.found.values())


def test_a_smaller_hive_may_use_any_xgmi_engine() -> None:
    links = Links("mi300x", "mi300x")
    assert links.engines(1, 2) == links.engines(2, 1) == 0xFFFC
    assert links.engines(1, 0) == links.engines(0, 1) == 0b11
    links = Links(*["mi210"] * 2)
    assert links.engines(1, 2) == 0b11100


def test_the_dies_of_one_product_and_of_two() -> None:
    links = Links(*["mi250x"] * 4)
    assert len(set(links.hives)) == 1
    assert links.weight(1, 2) == 15
    assert links.found[1, 2]["max_bandwidth"] == 200000
    # Of two products those with the same number are linked directly, the others over them.
    assert links.weight(1, 3) == 15
    assert links.found[1, 3]["max_bandwidth"] == links.found[1, 3]["min_bandwidth"] == 50000
    assert links.weight(1, 4) == 30
    assert links.found[1, 4]["max_bandwidth"] == links.found[1, 4]["min_bandwidth"] == 0


def test_partitions_of_one_gpu_and_of_two() -> None:
    links = Links(*["mi300x-cpx"] * 16)
    assert len(set(links.hives)) == 1
    assert links.weight(1, 8) == 13
    assert links.weight(8, 9) == links.weight(16, 1) == 41
    assert links.found[8, 9]["max_bandwidth"] == 819200
    # A partition has no engines for XGMI.
    assert links.engines(1, 2) == 0b11


def test_a_machine_can_have_several_hives() -> None:
    links = Links(*["mi210"] * 6, *["mi300x"] * 2)
    assert [links.hives.index(hive) for hive in links.hives] == [0, 0, 0, 0, 4, 4, 6, 6]
    assert links.found[1, 4]["type"] == 11
    assert links.found[4, 5]["kind"] == links.found[5, 7]["kind"] == "p2p"
    assert links.weight(4, 5) == 40


def test_a_gpu_of_its_own_is_in_no_hive() -> None:
    assert Links(*["mi210"] * 5, "mi300x").hives[4:] == [0, 0]


def test_pcie_peers_have_the_lesser_bandwidth_of_both() -> None:
    links = Links("mi300x", "rx7900xtx")
    for pair in ((1, 2), (2, 1)):
        assert links.found[pair]["max_bandwidth"] == 32000
        assert links.found[pair]["min_bandwidth"] == 312
        assert links.weight(*pair) == 40
        assert links.engines(*pair) == 0
        assert links.found[pair]["flags"] == 3
    assert (links.found[0, 1]["flags"], links.found[1, 0]["flags"]) == (3, 1)


def test_a_small_bar_is_reached_by_nobody_and_reaches_others() -> None:
    links = Links(small_bar("rx7900xtx"), "rx7900xtx")
    assert set(links.found) == {(1, 0), (2, 0), (0, 2), (1, 2)}


def test_a_hive_of_small_bars_is_a_hive() -> None:
    links = Links(small_bar("mi300x"), small_bar("mi300x"))
    assert set(links.found) == {(1, 0), (2, 0), (1, 2), (2, 1)}
    assert links.found[1, 2]["type"] == 11


def test_xgmi_to_the_cpu_goes_both_ways_and_excludes_pcie_peers() -> None:
    known = small_bar("mi210")
    attached = replace(known, links={"cpu": {**known.links["xgmi"], "weight": 15}})
    links = Links(attached, "rx7900xtx")
    assert links.found[0, 1]["type"] == links.found[1, 0]["type"] == 11
    assert links.weight(0, 1) == 15
    assert links.found[0, 1]["flags"] == 1
    assert (2, 1) not in links.found
    assert (1, 2) in links.found


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("name", ["mi300x", "rx9070xt", "mi350x", "mi100"])
def test_every_gpu_is_linked_with_every_other(name: str, count: int) -> None:
    links = Links(*[name] * count)
    nodes = range(count + 1)
    assert set(links.found) == {(a, b) for a in nodes for b in nodes if a != b}
