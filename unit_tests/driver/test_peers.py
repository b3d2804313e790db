"""Links between devices, access to each other's memory, and the engine for a link, on software GPUs."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pytest_amdgpu.abi.kfd import KfdIoctl, QueueType
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import CommandError, DeviceClosedError, PeerAccessError, SharingError
from pytest_amdgpu.driver.kfd_process import disconnect
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import Model, model
from pytest_amdgpu.kernel.protocol import Argument, KernelError

Open = Callable[..., list[Device]]


@pytest.fixture
def open_devices() -> Iterator[Open]:
    """Return a function that opens the devices of a machine of the given models."""
    made: list[tuple[EmulatedKernel, list[Device]]] = []

    def make(*models: str | Model, count: int | None = None) -> list[Device]:
        kernel = EmulatedKernel([model(name) if isinstance(name, str) else name for name in models])
        devices: list[Device] = []
        made.append((kernel, devices))
        devices += [Device.open(kernel, node) for node in discover(kernel)[:count]]
        return devices

    yield make
    for kernel, devices in made:
        for device in devices:
            device.close()
        disconnect(kernel)
        kernel.shutdown()


def small_bar(name: str) -> Model:
    known = model(name)
    return replace(known, mem_banks=tuple({**bank, "heap_type": 2} for bank in known.mem_banks))


def queue_place(device: Device, **options: object) -> tuple[QueueType, int]:
    """Make a queue; return its type and engine as the emulated kernel has them."""
    queue = device.sdma_queue(**options)  # type: ignore[arg-type]
    process = device.kernel._process  # type: ignore[attr-defined]
    made = process.queues[queue.queue_id]
    place = QueueType(made.context.queue_type), made.sdma_place[0]
    queue.close()
    return place


def test_links_of_a_hive(open_devices: Open) -> None:
    first, second = open_devices("mi300x", "mi300x", "rx7900xtx", count=2)
    cpu, xgmi, pcie = first.links()
    assert [(link.source, link.target, link.kind) for link in (cpu, xgmi, pcie)] == [
        (1, 0, "pcie"),
        (1, 2, "xgmi"),
        (1, 3, "pcie"),
    ]
    assert first.link_to(second) == xgmi
    assert (xgmi.weight, xgmi.hops, xgmi.min_bandwidth, xgmi.max_bandwidth) == (15, 1, 50000, 50000)
    assert xgmi.engines == tuple(range(2, 16))
    assert (pcie.weight, pcie.hops, pcie.engines) == (40, 2, ())
    assert first.node.hive_id == second.node.hive_id != 0


@pytest.mark.parametrize(("target", "hops"), [(1, 1), (2, 1), (3, 2)])
def test_hops_between_dies(open_devices: Open, target: int, hops: int) -> None:
    devices = open_devices(*["mi250x"] * 4)
    link = devices[0].link_to(devices[target])
    assert link is not None
    assert (link.kind, link.hops) == ("xgmi", hops)


def test_links_without_p2p_directory_and_engines(open_devices: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    (device,) = open_devices("mi300x")
    kernel = device.kernel
    listdir, read_text = kernel.listdir, kernel.read_text
    monkeypatch.setattr(kernel, "listdir", lambda path: listdir(path.replace("p2p_links", "gone")))
    monkeypatch.setattr(
        kernel,
        "read_text",
        lambda path: re.sub("recommended_sdma_engine_id_mask .*\n", "", read_text(path)),
    )
    (link,) = device.links()
    assert link.engines == ()


def test_links_of_hidden_gpus_are_left_out(open_devices: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = open_devices("mi300x", "mi300x")
    kernel = first.kernel
    read_text = kernel.read_text

    def read(path: str) -> str:
        if path.endswith("io_links/1/properties"):
            raise KernelError(error, "read", path)
        return read_text(path)

    monkeypatch.setattr(kernel, "read_text", read)
    error = errno.EPERM
    assert [link.target for link in first.links()] == [0]
    assert not first.can_reach(second)
    error = errno.EIO
    with pytest.raises(KernelError, match="EIO"):
        first.links()


def test_a_full_hive_gives_each_link_its_engine(open_devices: Open) -> None:
    devices = open_devices(*["mi300x"] * 8, count=3)
    # rec_sdma_eng_map in kfd_topology.c: from socket 0 to 1 and 2, from 2 to 0.
    for source, target, engine in ((0, 1, 14), (0, 2, 12), (2, 0, 10)):
        place = queue_place(devices[source], peer=devices[target])
        assert place == (QueueType.SDMA_BY_ENG_ID, engine)


def test_a_small_hive_takes_any_xgmi_engine(open_devices: Open) -> None:
    first, second = open_devices("mi210", "mi210")
    kind, engine = queue_place(first, peer=second)
    assert kind is QueueType.SDMA_XGMI
    assert engine in first.node.xgmi_engines == range(2, 5)


@pytest.mark.parametrize("models", [("rx7900xtx", "rx9070xt"), ("mi300x-cpx",) * 8], ids=["pcie", "cpx"])
def test_links_without_xgmi_engines_take_the_others(open_devices: Open, models: tuple[str, ...]) -> None:
    first, second = open_devices(*models, count=2)
    kind, engine = queue_place(first, peer=second)
    assert kind is QueueType.SDMA
    assert engine in first.node.sdma_engines == range(2)


@pytest.mark.parametrize("engine", [0, 1, 2, 15])
def test_an_engine_by_number(open_devices: Open, engine: int) -> None:
    (device,) = open_devices("mi300x")
    assert queue_place(device, engine=engine) == (QueueType.SDMA_BY_ENG_ID, engine)


@pytest.mark.parametrize("engine", [-1, 16])
def test_an_engine_that_is_not_there_is_refused(open_devices: Open, engine: int) -> None:
    (device,) = open_devices("mi300x")
    with pytest.raises(CommandError, match=f"has the SDMA engines 0 to 15, not {engine}$"):
        device.sdma_queue(engine=engine)


def test_engine_and_peer_exclude_each_other(open_devices: Open) -> None:
    first, second = open_devices("mi300x", "mi300x")
    with pytest.raises(CommandError, match=f"either engine=3 or peer={second.name} chooses"):
        first.sdma_queue(engine=3, peer=second)


def test_a_small_bar_is_not_reached_but_reaches(open_devices: Open) -> None:
    small, large = open_devices(small_bar("rx7900xtx"), "rx9070xt")
    assert small.can_reach(large)
    assert not large.can_reach(small)
    assert large.link_to(small) is None
    buffer = small.vram(4096, cpu_visible=False)
    needed = (
        rf"{large.node.identity} cannot reach vram of {small.node.identity}: .*enable Resizable BAR.*EINVAL"
    )
    with pytest.raises(PeerAccessError, match=needed):
        buffer.map_to(large)
    with pytest.raises(PeerAccessError, match=r"cannot reach .*Resizable BAR"):
        large.sdma_queue(peer=small)
    large.vram(4096).map_to(small)
    small.gtt(4096).map_to(large)


def test_no_link_although_the_bar_is_large(open_devices: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = open_devices("rx7900xtx", "rx7900xtx")
    kernel = first.kernel
    listdir = kernel.listdir
    monkeypatch.setattr(kernel, "listdir", lambda path: [] if "p2p" in path else listdir(path))
    with pytest.raises(PeerAccessError, match=r"no link from .* needs a kernel with CONFIG_HSA_AMD_P2P"):
        first.sdma_queue(peer=second)


def test_mapping_twice_is_harmless(open_devices: Open) -> None:
    first, second = open_devices("mi300x", "mi300x")
    buffer = first.vram(4096)
    for _ in range(2):
        buffer.map_to(second)
        buffer.map_to(first)
    assert buffer.allocation.mapped_gpus == [first.node.gpu_id, second.node.gpu_id]


def test_mapping_to_a_closed_device_is_refused(open_devices: Open) -> None:
    first, second = open_devices("mi300x", "mi300x")
    buffer = first.vram(4096)
    second.close()
    with pytest.raises(DeviceClosedError, match=second.name):
        buffer.map_to(second)


def test_mapping_behind_another_kernel_is_refused(open_devices: Open) -> None:
    (first,), (second,) = open_devices("mi300x"), open_devices("rx7900xtx")
    with pytest.raises(PeerAccessError, match="behind another kernel than a vram buffer"):
        first.vram(4096).map_to(second)


@pytest.mark.parametrize("command", ["wait", "signal"])
@pytest.mark.parametrize("engine", ["sdma", "pm4", "aql"])
def test_a_semaphore_of_another_device_must_be_mapped(open_devices: Open, command: str, engine: str) -> None:
    first, second = open_devices("mi300x", "rx7900xtx")
    semaphore = first.timeline_semaphore()
    queue = second.sdma_queue() if engine == "sdma" else second.compute_queue(engine)
    needed = f"{second.name} does not reach timeline semaphore .* of {first.name}: map_to"
    with pytest.raises(PeerAccessError, match=needed):
        getattr(queue, command)(semaphore, 1)
    semaphore.map_to(second)
    queue.discard()
    queue.signal(semaphore, 1).submit()
    semaphore.wait(1, timeout=60)


CALLS = ["GET_DMABUF_INFO", "IMPORT_DMABUF", "MAP_MEMORY_TO_GPU"]


@pytest.mark.parametrize("call", CALLS)
def test_an_import_that_fails_leaves_nothing(
    open_devices: Open, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (device,) = open_devices("mi300x")
    kernel = device.kernel
    shared = device.vram(4096).export()
    objects = kernel._process.devices[device.node.gpu_id].objects  # type: ignore[attr-defined]
    before = len(objects), len(kernel._maps)  # type: ignore[attr-defined]
    ioctl = kernel.ioctl

    def fail(fd: int, request: int, argument: Argument) -> int:
        if request == KfdIoctl[call]:
            raise KernelError(errno.ENOMEM, call, "")
        return ioctl(fd, request, argument)

    monkeypatch.setattr(kernel, "ioctl", fail)
    with pytest.raises((KernelError, SharingError), match=call):
        device.import_buffer(shared)
    assert (len(objects), len(kernel._maps)) == before  # type: ignore[attr-defined]
    assert len(device.leaks()) == 2


def test_shared_memory_between_devices(open_devices: Open) -> None:
    first, second = open_devices("mi300x", "mi300x")
    buffer = first.vram(5000)
    with buffer.export() as shared:
        assert (shared.size, shared.fileno()) == (5000, shared.fd)
        imported = second.import_buffer(shared)
    assert imported.size == 8192
    assert (imported.location, imported.cpu_visible) == ("vram", True)
    imported.array[4999] = 7
    assert buffer.array[4999] == 7
    buffer.free()
    assert imported.array[4999] == 7


def test_shared_memory_that_the_cpu_cannot_see(open_devices: Open) -> None:
    (device,) = open_devices("mi300x")
    buffer = device.vram(4096, cpu_visible=False)
    with buffer.export() as shared:
        assert not device.import_buffer(shared.fd).cpu_visible


def test_shared_memory_of_an_unreachable_gpu(open_devices: Open) -> None:
    small, large = open_devices(small_bar("rx7900xtx"), "rx9070xt")
    buffer = small.vram(4096, cpu_visible=False)
    with buffer.export() as shared, pytest.raises(PeerAccessError, match="cannot reach the exported 0x1000"):
        large.import_buffer(shared)
    assert large.leaks() == []


def test_what_cannot_be_shared(open_devices: Open) -> None:
    (device,) = open_devices("mi300x")
    with pytest.raises(SharingError, match=r"cannot export 0x1000 bytes of userptr: .*EPERM"):
        device.userptr(4096).export()
    with (
        open("/dev/null", "rb") as file,
        pytest.raises(SharingError, match=r"not one of GPU memory: .*EINVAL"),
    ):
        device.import_buffer(file.fileno())
    with pytest.raises(SharingError, match=r"descriptor 99999 is not one .*EBADF"):
        device.import_buffer(99999)


def test_closing_takes_shared_memory_back(open_devices: Open) -> None:
    (device,) = open_devices("mi300x")
    shared = device.gtt(4096).export()
    (leak,) = [leak for leak in device.leaks() if "descriptor" in leak.description]
    assert leak.description == "a descriptor of 4096 bytes of shared memory"
    device.reclaim()
    with pytest.raises(Exception, match=r"shared memory, made at .*test_peers.py:\d+, was closed"):
        _ = shared.fd
