"""What real machines have that a plain one has not: many nodes, hidden ones, odd files, other processes."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from machine_kernels import FilesKernel, topology

from pytest_amdgpu.devices.hardware import Cause, HardwareReport, examine_hardware
from pytest_amdgpu.devices.machine import find_machine
from pytest_amdgpu.driver.topology import TOPOLOGY, discover

NODES = f"{TOPOLOGY}/nodes"
Files = dict[str, "str | int"]

TWO_GPUS = topology((90402, 0x0300, 0xABC), (110000, 0x0400, 0))
USABLE = {"/dev/kfd": 0, "/dev/dri/renderD128": 0, "/dev/dri/renderD129": 0}


class ReadingKernel(FilesKernel):
    """Notes which files are read."""

    def __init__(self, files: Files, nodes: dict[str, int] | None = None) -> None:
        super().__init__(files, nodes)
        self.paths: list[str] = []

    def read_text(self, path: str) -> str:
        self.paths.append(path)
        return super().read_text(path)


def examine(files: Files, nodes: dict[str, int] = USABLE) -> HardwareReport:
    kernel = FilesKernel(files, nodes)
    report = examine_hardware(kernel, group_of=lambda path: "render")
    assert kernel.open_fds == 0
    return report


def with_property(key: str, value: str | None, node: int = 1) -> Files:
    """The two GPUs, one of which says something else, or nothing, of one property."""
    files = dict(TWO_GPUS)
    path = f"{NODES}/{node}/properties"
    lines = [line for line in str(files[path]).splitlines() if line.split()[0] != key]
    assert len(lines) == len(str(files[path]).splitlines()) - 1 or value is not None
    files[path] = "\n".join([*lines, *([] if value is None else [f"{key} {value}"])])
    return files


def many_nodes(cpus: int, gpus: int) -> Files:
    """A machine with several NUMA nodes, which come first, as amdkfd numbers them."""
    files: Files = {f"{TOPOLOGY}/generation_id": "9\n"}
    plain = topology(*((90402, (index + 1) << 8, index + 1) for index in range(gpus)))
    for cpu in range(cpus):
        files[f"{NODES}/{cpu}/gpu_id"] = "0\n"
        files[f"{NODES}/{cpu}/name"] = "\n"
        files[f"{NODES}/{cpu}/properties"] = "cpu_cores_count 64\n"
    for path, content in plain.items():
        _, _, rest = path.partition(f"{NODES}/")
        node, _, name = rest.partition("/")
        if node and node != "0":
            files[f"{NODES}/{int(node) - 1 + cpus}/{name}"] = content
    return files


def test_sixteen_gpus_behind_eight_cpus_come_in_numeric_order() -> None:
    # The kernel lists directories in no order; FilesKernel lists 9 before 10 and 8 before 19.
    nodes = discover(FilesKernel(many_nodes(8, 16)))
    assert [node.index for node in nodes] == list(range(8, 24))
    assert [node.identity for node in nodes] == [f"0000:{bus:02x}:00.0" for bus in range(1, 17)]
    assert [node.render_path for node in nodes] == [f"/dev/dri/renderD{minor}" for minor in range(128, 144)]


def test_cpus_only_are_no_gpu() -> None:
    report = examine(many_nodes(4, 0))
    assert [obstacle.cause for obstacle in report.obstacles] == [Cause.NO_GPU]


@pytest.mark.parametrize("file", ["gpu_id", "properties", "name", "mem_banks/0/properties"])
def test_a_node_that_is_hidden_beside_others_is_told(file: str) -> None:
    report = examine({**TWO_GPUS, f"{NODES}/1/{file}": errno.EPERM})
    assert [node.target for node in report.nodes] == ["gfx1100"]
    if file in ("gpu_id", "properties"):
        (obstacle,) = report.obstacles
        assert obstacle.cause is Cause.HIDDEN
        assert f"nodes 1 (in {NODES})" in obstacle.text
        assert "--device=/dev/dri" in obstacle.text


def test_hidden_nodes_are_counted_as_numbers() -> None:
    files = many_nodes(2, 12)
    for index in (3, 11, 4):
        files[f"{NODES}/{index}/properties"] = errno.EPERM
    kernel = FilesKernel(files, {"/dev/kfd": 0})
    assert "nodes 3, 4, 11 (" in examine_hardware(kernel).obstacles[0].text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "drm_render_minor",
            None,
            r"/nodes/1/properties has no drm_render_minor: the amdgpu driver is too",
        ),
        ("drm_render_minor", "0", "has drm_render_minor 0, which is no render node's (they begin at 128)"),
        ("drm_render_minor", "4294967295", "has drm_render_minor 4294967295, which is no render node's"),
        (
            "gfx_target_version",
            None,
            "/nodes/1/properties has no gfx_target_version: the amdgpu driver is",
        ),
        ("location_id", None, "/nodes/1/properties has no location_id: the amdgpu driver is too old"),
    ],
)
def test_a_node_that_lacks_what_is_needed_leaves_the_others(
    key: str, value: str | None, message: str
) -> None:
    report = examine(with_property(key, value))
    assert [node.target for node in report.nodes] == ["gfx1100"]
    (obstacle,) = report.obstacles
    assert obstacle.cause is Cause.UNSUITABLE_DRIVER
    assert message in obstacle.text


@pytest.mark.parametrize(
    ("number", "cause", "message"),
    [
        (errno.ENOENT, Cause.HIDDEN, "/dev/dri/renderD128 is missing here; give the container"),
        (errno.EACCES, Cause.NO_PERMISSION, "/dev/dri/renderD128 may be opened only by group 'render'"),
        (errno.EPERM, Cause.HIDDEN, "the device cgroup forbids /dev/dri/renderD128; give the container"),
        (errno.ENODEV, Cause.NO_DRIVER, "no driver answers at /dev/dri/renderD128 (ENODEV)"),
        (
            errno.EIO,
            Cause.ERROR,
            "/dev/dri/renderD128 cannot be opened: [Errno 5] open(/dev/dri/renderD128) failed: EIO",
        ),
        (errno.EBUSY, Cause.ERROR, "/dev/dri/renderD128 cannot be opened: "),
    ],
)
def test_a_render_node_that_cannot_be_opened_leaves_the_others(
    number: int, cause: Cause, message: str
) -> None:
    report = examine(TWO_GPUS, {**USABLE, "/dev/dri/renderD128": number})
    assert [node.target for node in report.nodes] == ["gfx1100"]
    (obstacle,) = report.obstacles
    assert obstacle.cause is cause
    assert "the GPU at 0000:03:00.0 (gfx942)" in obstacle.text
    assert message in obstacle.text


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (f"{NODES}/1/properties", errno.EIO, f"read({NODES}/1/properties) failed: EIO"),
        (f"{TOPOLOGY}/generation_id", errno.EACCES, f"read({TOPOLOGY}/generation_id) failed: EACCES"),
        (
            f"{NODES}/1/properties",
            "location_id 0x300\n",
            "properties: line 'location_id 0x300': '0x300' is not a decimal number",
        ),
        (f"{NODES}/1/gpu_id", "none\n", "gpu_id: 'none\\n' is not a decimal number"),
        (
            f"{NODES}/1/mem_banks/0/properties",
            "heap_type\n",
            "0/properties: line 'heap_type': '' is not a decimal number",
        ),
    ],
)
def test_a_topology_that_makes_no_sense_is_told_with_its_file(
    path: str, content: str | int, message: str
) -> None:
    report = examine({**TWO_GPUS, path: content})
    assert report.nodes == ()
    (obstacle,) = report.obstacles
    assert obstacle.cause is Cause.ERROR
    assert message in obstacle.text
    # A run with software GPUs tells it as the reason.
    assert message in find_machine("auto", "gfx1100", lambda: report).reason


def test_a_node_that_never_can_be_read_is_told_with_its_file() -> None:
    files = {path: content for path, content in TWO_GPUS.items() if path != f"{NODES}/2/name"}
    (obstacle,) = examine(files).obstacles
    assert "changed during each of 3 readings" in obstacle.text
    assert f"the last one failed: [Errno 2] read({NODES}/2/name) failed: ENOENT" in obstacle.text


def test_keys_that_are_not_known_do_no_harm_whatever_they_say() -> None:
    files = dict(TWO_GPUS)
    files[f"{NODES}/1/properties"] = (
        f"{files[f'{NODES}/1/properties']}new_key 7\nnewer_name gfx 942\nempty\n\n"
    )
    (first, _) = examine(files).nodes
    assert first.properties["new_key"] == 7
    assert "newer_name" not in first.properties
    assert "empty" not in first.properties


@pytest.mark.parametrize("key", ["domain", "unique_id", "num_xcc", "device_id"])
def test_keys_that_an_older_kernel_lacks_are_not_needed(key: str) -> None:
    report = examine(with_property(key, None))
    assert not report.obstacles
    machine = find_machine("auto", None, lambda: report)
    assert machine.devices[0].id == "gfx942-0000:03:00.0"
    assert machine.devices[0].num_xcc == 1


def test_sdma_engines_where_the_kernel_does_not_print_them() -> None:
    (node, other) = discover(FilesKernel(with_property("num_sdma_engines", "0")))
    assert [[*gpu.sdma_engines] for gpu in (node, other)] == [[], [0]]


def test_nothing_outside_of_the_topology_is_read() -> None:
    """A debugfs that cannot be read, or is not there, is not missed."""
    kernel = ReadingKernel({**TWO_GPUS, "/sys/kernel/debug/dri/0/amdgpu_regs": errno.EACCES}, USABLE)
    assert len(examine_hardware(kernel).nodes) == 2
    assert kernel.paths
    assert all(path.startswith(f"{TOPOLOGY}/") for path in kernel.paths)


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_gpu_that_is_added_while_the_topology_is_read(attempts: int) -> None:
    """As by a change of the partition mode: the generation changes, and there are more nodes."""
    kernel = FilesKernel(topology((90402, 0x0300, 1)), USABLE)
    read: Callable[[str], str] = kernel.read_text
    reads = 0

    def read_and_change(path: str) -> str:
        nonlocal reads
        content = read(path)
        if path.endswith("/properties") and "mem_banks" not in path and reads < attempts:
            reads += 1
            kernel.files = {**TWO_GPUS, f"{TOPOLOGY}/generation_id": f"{10 + reads}\n"}
        return content

    kernel.read_text = read_and_change  # type: ignore[method-assign]
    assert [node.target for node in discover(kernel)] == ["gfx942", "gfx1100"]
