"""The sysfs of software GPUs, read as a driver reads it."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import PROPERTY_KEYS, model
from pytest_amdgpu.kernel.protocol import KernelError

NODES = "/sys/devices/virtual/kfd/kfd/topology/nodes"


@pytest.fixture
def kernel() -> Iterator[EmulatedKernel]:
    made = EmulatedKernel([model(name) for name in ("mi300x", "rx7900xtx", "mi300x")])
    yield made
    made.shutdown()


def properties(kernel: EmulatedKernel, path: str) -> dict[str, str]:
    lines = kernel.read_text(f"{NODES}/{path}/properties").splitlines()
    return dict(line.split(" ", 1) for line in lines)


def test_both_paths_of_the_topology_show_the_same(kernel: EmulatedKernel) -> None:
    for name in ("generation_id", "system_properties", "nodes/1/properties"):
        assert kernel.read_text(f"/sys/class/kfd/kfd/topology/{name}") == kernel.read_text(
            f"/sys/devices/virtual/kfd/kfd/topology/{name}"
        )
    assert int(kernel.read_text("/sys/class/kfd/kfd/topology/generation_id")) > 0


def test_node_0_is_the_cpu(kernel: EmulatedKernel) -> None:
    assert kernel.read_text(f"{NODES}/0/gpu_id") == "0\n"
    assert kernel.read_text(f"{NODES}/0/name") == "\n"
    cpu = properties(kernel, "0")
    assert int(cpu["cpu_cores_count"]) > 0
    assert cpu["simd_count"] == cpu["gfx_target_version"] == "0"
    assert "num_xcc" not in cpu
    assert "unique_id" not in cpu


def test_gpu_nodes_have_the_kernels_keys_in_its_order(kernel: EmulatedKernel) -> None:
    assert sorted(kernel.listdir(NODES)) == ["0", "1", "2", "3"]
    for node in ("1", "2", "3"):
        assert tuple(properties(kernel, node)) == PROPERTY_KEYS


def test_gpus_of_one_machine_are_told_apart(kernel: EmulatedKernel) -> None:
    gpu_ids = [int(kernel.read_text(f"{NODES}/{node}/gpu_id")) for node in (1, 2, 3)]
    assert len(set(gpu_ids)) == 3
    assert all(0 < gpu_id < 1 << 16 for gpu_id in gpu_ids)
    for key in ("unique_id", "location_id", "drm_render_minor", "simd_id_base"):
        assert len({properties(kernel, node)[key] for node in "123"}) == 3
    assert [int(properties(kernel, node)["simd_id_base"]) - 0x80001000 for node in "123"] == [0, 304, 400]


@pytest.mark.parametrize("node", ["0", "1", "2", "3"])
@pytest.mark.parametrize("kind", ["mem_banks", "caches", "io_links", "p2p_links"])
def test_counts_match_the_directories(kernel: EmulatedKernel, node: str, kind: str) -> None:
    entries = kernel.listdir(f"{NODES}/{node}/{kind}")
    assert sorted(map(int, entries)) == list(range(int(properties(kernel, node)[f"{kind}_count"])))
    for entry in entries[:2] + entries[-1:]:
        assert properties(kernel, f"{node}/{kind}/{entry}")


def test_links_join_hive_and_peers(kernel: EmulatedKernel) -> None:
    def targets(node: str, kind: str) -> list[tuple[str, str]]:
        found = [
            properties(kernel, f"{node}/{kind}/{entry}") for entry in kernel.listdir(f"{NODES}/{node}/{kind}")
        ]
        assert all(link["node_from"] == node for link in found)
        return [(link["node_to"], link["type"]) for link in found]

    assert targets("0", "io_links") == [("1", "2"), ("2", "2"), ("3", "2")]
    assert targets("1", "io_links") == [("0", "2"), ("3", "11")]
    assert targets("1", "p2p_links") == [("2", "2")]
    assert targets("2", "p2p_links") == [("1", "2"), ("3", "2")]
    assert properties(kernel, "2/p2p_links/0")["weight"] == "40"
    assert properties(kernel, "1")["hive_id"] == properties(kernel, "3")["hive_id"] != "0"
    assert properties(kernel, "2")["hive_id"] == "0"


def test_render_node_has_a_device_directory(kernel: EmulatedKernel) -> None:
    assert "renderD129" in kernel.listdir("/sys/class/drm")
    device = "/sys/class/drm/renderD129/device"
    assert kernel.read_text(f"{device}/device") == "0x744c\n"
    assert kernel.read_text(f"{device}/unique_id") == f"{int(properties(kernel, '2')['unique_id']):016x}\n"
    assert "PCI_SLOT_NAME=0000:04:00.0" in kernel.read_text(f"{device}/uevent")
    assert int(properties(kernel, "2")["location_id"]) == 4 << 8


@pytest.mark.parametrize(
    ("call", "path", "error"),
    [
        ("read_text", f"{NODES}/9/properties", errno.ENOENT),
        ("read_text", "/proc/cpuinfo", errno.ENOENT),
        ("read_text", f"{NODES}/1", errno.EISDIR),
        ("read_text", f"{NODES}/1/name/more", errno.ENOTDIR),
        ("listdir", f"{NODES}/1/name", errno.ENOTDIR),
        ("listdir", f"{NODES}/4", errno.ENOENT),
    ],
)
def test_wrong_paths(kernel: EmulatedKernel, call: str, path: str, error: int) -> None:
    with pytest.raises(KernelError) as caught:
        getattr(kernel, call)(path)
    assert caught.value.errno == error
    assert path in str(caught.value)
