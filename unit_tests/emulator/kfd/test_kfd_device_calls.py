"""Ioctls about version, clocks, apertures and modes: results and refusals."""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Callable
from typing import Any

import pytest
from kfd_client import Client, StubEngine

from pytest_amdgpu.abi.kfd import KfdIoctl, ProcessDeviceApertures

UNMAPPED = 0x1234_5678_0000


def test_version_is_1_17(client: Client) -> None:
    args = client.call(KfdIoctl.GET_VERSION)
    assert (args.major_version, args.minor_version) == (1, 17)


def test_clock_counters(client: Client) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    args = client.call(KfdIoctl.GET_CLOCK_COUNTERS, gpu_id=client.gpu_id)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    assert before <= args.cpu_clock_counter <= after
    assert before // 10 <= args.gpu_clock_counter <= after // 10, "100 MHz"
    assert args.system_clock_freq == 10**9
    assert abs(args.system_clock_counter - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) < 10**10


def test_clock_counters_of_unknown_gpu_is_0_and_no_error(client: Client) -> None:
    assert client.call(KfdIoctl.GET_CLOCK_COUNTERS, gpu_id=0, gpu_clock_counter=5).gpu_clock_counter == 0


def assert_apertures(entry: Any, gpu_id: int) -> None:
    assert (entry.lds_base, entry.lds_limit) == (1 << 48, 0x1_0000_FFFF_FFFF)
    assert (entry.scratch_base, entry.scratch_limit) == (2 << 48, 0x2_0000_FFFF_FFFF)
    assert (entry.gpuvm_base, entry.gpuvm_limit) == (0x10000, 0x7FFF_FFFF_FFFF)
    assert entry.gpu_id == gpu_id


def test_apertures_of_at_most_7_gpus(make_client: Callable[..., Client]) -> None:
    client = make_client(*["rx7900xtx"] * 8)
    args = client.call(KfdIoctl.GET_PROCESS_APERTURES)
    assert args.num_of_nodes == 7
    for entry, gpu in zip(args.process_apertures, client.gpus, strict=False):
        assert_apertures(entry, gpu.gpu_id)


def test_apertures_new_counts_and_fills(two_gpus: Client) -> None:
    assert two_gpus.call(KfdIoctl.GET_PROCESS_APERTURES_NEW).num_of_nodes == 2
    table = (ProcessDeviceApertures * 3)()
    for room, expected in ((1, 1), (3, 2)):
        args = two_gpus.call(
            KfdIoctl.GET_PROCESS_APERTURES_NEW,
            kfd_process_device_apertures_ptr=ctypes.addressof(table),
            num_of_nodes=room,
        )
        assert args.num_of_nodes == expected
    for entry, gpu in zip(table, two_gpus.gpus, strict=False):
        assert_apertures(entry, gpu.gpu_id)
    assert bytes(table[2]) == bytes(56)


def test_apertures_new_bad_pointer_efault(client: Client) -> None:
    fields = {"kfd_process_device_apertures_ptr": UNMAPPED, "num_of_nodes": 1}
    client.refused(errno.EFAULT, KfdIoctl.GET_PROCESS_APERTURES_NEW, **fields)


@pytest.mark.parametrize("field", ["default_policy", "alternate_policy"])
def test_memory_policy_unknown_einval(client: Client, field: str) -> None:
    client.refused(errno.EINVAL, KfdIoctl.SET_MEMORY_POLICY, gpu_id=client.gpu_id, **{field: 2})


@pytest.mark.parametrize(
    ("request_number", "unbound"),
    [
        (KfdIoctl.SET_MEMORY_POLICY, errno.ESRCH),
        (KfdIoctl.SET_SCRATCH_BACKING_VA, errno.ENODEV),
        (KfdIoctl.SET_TRAP_HANDLER, errno.ESRCH),
    ],
)
def test_gpu_unknown_einval_and_vm_not_acquired(
    make_client: Callable[..., Client], request_number: KfdIoctl, unbound: int
) -> None:
    client = make_client("rx7900xtx", acquire=False)
    client.refused(errno.EINVAL, request_number, gpu_id=0)
    client.refused(unbound, request_number, gpu_id=client.gpu_id)
    client.call(KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=client.gpu_id)
    client.call(request_number, gpu_id=client.gpu_id)


def test_tile_config_gpu_unknown_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.GET_TILE_CONFIG, gpu_id=0)


@pytest.mark.parametrize("which", ["tile", "macro_tile"])
def test_tile_config_bad_pointer_efault(client: Client, which: str) -> None:
    fields = {f"{which}_config_ptr": UNMAPPED, f"num_{which}_configs": 1}
    client.refused(errno.EFAULT, KfdIoctl.GET_TILE_CONFIG, gpu_id=client.gpu_id, **fields)


def test_tile_config_fills_what_there_is(client: Client) -> None:
    tiles, macros = client.ids(*[7] * 40), client.ids(*[7] * 40)
    args = client.call(
        KfdIoctl.GET_TILE_CONFIG,
        gpu_id=client.gpu_id,
        tile_config_ptr=ctypes.addressof(tiles),
        num_tile_configs=40,
        macro_tile_config_ptr=ctypes.addressof(macros),
        num_macro_tile_configs=3,
    )
    assert (args.num_tile_configs, args.num_macro_tile_configs) == (32, 3)
    assert (list(tiles), list(macros)) == ([0] * 32 + [7] * 8, [0] * 3 + [7] * 37)


@pytest.mark.parametrize(("user", "expected"), [(0, errno.EINVAL), (1000, errno.EACCES)])
def test_checkpoint_needs_a_capability_eacces(
    client: Client, monkeypatch: pytest.MonkeyPatch, user: int, expected: int
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    client.refused(expected, KfdIoctl.CRIU_OP)


def test_runtime_enable_twice_ebusy(client: Client) -> None:
    client.call(KfdIoctl.RUNTIME_ENABLE, mode_mask=1)
    client.refused(errno.EBUSY, KfdIoctl.RUNTIME_ENABLE, mode_mask=3)
    client.call(KfdIoctl.RUNTIME_ENABLE, mode_mask=0)
    client.call(KfdIoctl.RUNTIME_ENABLE, mode_mask=1)


def test_runtime_enable_after_a_queue_eexist(client: Client) -> None:
    client.create_queue()
    client.refused(errno.EEXIST, KfdIoctl.RUNTIME_ENABLE, mode_mask=1)
    client.call(KfdIoctl.RUNTIME_ENABLE, mode_mask=0)


def test_xnack_query(client: Client) -> None:
    assert client.call(KfdIoctl.SET_XNACK_MODE, xnack_enabled=-1).xnack_enabled == 0


@pytest.mark.parametrize("models", [["rx7900xtx"], ["mi300x", "rx7900xtx"]])
def test_xnack_where_a_gpu_has_none_eperm(make_client: Callable[..., Client], models: list[str]) -> None:
    client = make_client(*models)
    client.refused(errno.EPERM, KfdIoctl.SET_XNACK_MODE, xnack_enabled=1)
    client.call(KfdIoctl.SET_XNACK_MODE, xnack_enabled=0)


def test_xnack_change_with_queues_ebusy(
    make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    client = make_client("mi300x")
    client.call(KfdIoctl.SET_XNACK_MODE, xnack_enabled=1)
    assert client.call(KfdIoctl.SET_XNACK_MODE, xnack_enabled=-1).xnack_enabled == 1
    client.create_queue()
    for value in (0, 1):
        client.refused(errno.EBUSY, KfdIoctl.SET_XNACK_MODE, xnack_enabled=value)
    assert client.call(KfdIoctl.SET_XNACK_MODE, xnack_enabled=-1).xnack_enabled == 1
