"""A dispatch with everything but its arguments: what is reused when a kernel is launched again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pytest_amdgpu.driver.launch import Triple


class TemplateLink(NamedTuple):
    """A 64-bit place in the code (or the payload) that takes the address of a byte of the payload."""

    in_payload: bool
    position: int
    target: int


@dataclass(frozen=True, slots=True)
class DispatchTemplate:
    """The code of a dispatch and the memory that it points to.

    The payload begins with `kernarg_size` bytes for the kernel arguments. `preload` are the byte of the
    code that takes preloaded arguments, and where in the payload they begin and end; `dispatch_id` is the
    byte of the code that takes the number of the dispatch.
    """

    code: bytes
    payload: bytes
    links: tuple[TemplateLink, ...]
    kernarg_size: int
    grid: Triple
    block: Triple
    preload: tuple[int, int, int] | None = None
    dispatch_id: int | None = None
