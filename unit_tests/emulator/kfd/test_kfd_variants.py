"""What the kernel refuses on variants of a model, through the raw interface."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from kfd_client import PAGE, Client, StubEngine

from pytest_amdgpu.abi.kfd import AllocFlag, KfdIoctl, QueueType

Make = Callable[..., Client]


def test_alloc_public_vram_of_a_small_bar_model_einval(make_client: Make) -> None:
    client = make_client("rx7900xtx+small-bar")
    fields = {"va_addr": client.reserve(PAGE), "size": PAGE, "gpu_id": client.gpu.gpu_id}
    vram = AllocFlag.VRAM | AllocFlag.WRITABLE
    client.refused(errno.EINVAL, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields, flags=vram | AllocFlag.PUBLIC)
    client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields, flags=vram)


@pytest.mark.parametrize("queue_type", [QueueType.SDMA, QueueType.SDMA_XGMI])
def test_create_queue_without_sdma_engines_enomem(
    queue_type: QueueType, make_client: Make, engines: list[StubEngine]
) -> None:
    client = make_client("mi300x+no-sdma")
    fields = client.queue_fields(queue_type)
    client.refused(errno.ENOMEM, KfdIoctl.CREATE_QUEUE, **fields)
    assert not engines


def test_create_queue_by_engine_without_sdma_engines_einval(make_client: Make) -> None:
    client = make_client("mi300x+no-sdma")
    fields = client.queue_fields(QueueType.SDMA_BY_ENG_ID)
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields, sdma_engine_id=0)
