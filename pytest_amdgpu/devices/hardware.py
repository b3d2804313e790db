"""Can this process use the GPUs of the machine, and if not, why not? Nothing is changed by looking."""

from __future__ import annotations

import enum
import errno
import grp
import os
from collections.abc import Callable
from dataclasses import dataclass

from pytest_amdgpu.driver.errors import DeviceOpenError
from pytest_amdgpu.driver.topology import TOPOLOGY, GpuNode, discover, numbers_of, read_number
from pytest_amdgpu.families.registry import UnknownFamilyError, nearest_family
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

KFD = "/dev/kfd"
PCI_DEVICES = "/sys/bus/pci/devices"
AMD_VENDOR = 0x1002
# Base classes of the PCI code and ID assignment specification.
_DISPLAY_CLASS, _ACCELERATOR_CLASS = 0x03, 0x12


class Cause(enum.Enum):
    """Why a GPU cannot be used."""

    NO_GPU = "no GPU"
    NO_DRIVER = "no driver"
    HIDDEN = "hidden by a container"
    NO_PERMISSION = "no permission"
    UNKNOWN_TARGET = "unknown target"
    UNSUITABLE_DRIVER = "unsuitable driver"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that stands between this process and a GPU, and what to do about it."""

    cause: Cause
    text: str

    def __str__(self) -> str:
        return f"{self.cause.value}: {self.text}"


@dataclass(frozen=True, slots=True)
class HardwareReport:
    """The GPUs that can be used, and what stands in the way of the others."""

    nodes: tuple[GpuNode, ...]
    obstacles: tuple[Obstacle, ...]


def owning_group(path: str) -> str:
    """Return the name of the group that a file belongs to (its number if it has no name here)."""
    gid = os.stat(path).st_gid
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def examine_hardware(
    kernel: Kernel, group_of: Callable[[str], str] = owning_group, *, nearest_target: bool = False
) -> HardwareReport:
    """Find the usable GPUs of a machine and name what hides the others.

    With `nearest_target` GPUs of unknown steppings are usable if a relative is known. The device nodes are
    opened and closed: only that tells what the device cgroup of a container allows.
    """
    try:
        nodes = discover(kernel, nearest_target=nearest_target)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            text = f"{error}; nothing is known of the GPUs of this machine without it"
            return HardwareReport((), (Obstacle(Cause.ERROR, text),))
        return HardwareReport((), (_without_topology(kernel),))
    except DeviceOpenError as error:
        return HardwareReport((), (Obstacle(Cause.ERROR, str(error)),))
    hidden = _hidden_nodes(kernel)
    if not nodes:
        return HardwareReport((), (*hidden,) or (_without_nodes(kernel),))
    obstacle = _open_obstacle(kernel, KFD, group_of, f"the machine has {len(nodes)} GPU(s)")
    if obstacle:
        return HardwareReport((), (obstacle,))
    usable, obstacles = [], list(hidden)
    for node in nodes:
        if obstacle := _unsuitable(node) or _open_obstacle(
            kernel, node.render_path, group_of, node.description
        ):
            obstacles.append(obstacle)
        else:
            usable.append(node)
    return HardwareReport(tuple(usable), tuple(obstacles))


def _unsuitable(node: GpuNode) -> Obstacle | None:
    try:
        _ = node.description, node.vram_bytes, node.render_path, node.family
    except DeviceOpenError as error:
        return Obstacle(Cause.UNSUITABLE_DRIVER, str(error))
    except UnknownFamilyError as error:
        advice = "; --amdgpu-nearest-target lets it run as that" if _has_relative(node) else ""
        return Obstacle(Cause.UNKNOWN_TARGET, f"{node.description}: {error}{advice}")
    if node.family.packets_assumed and not node.nearest_target:
        return Obstacle(
            Cause.UNKNOWN_TARGET,
            f"{node.description}: the packets of {node.family} are not public in full;"
            " --amdgpu-nearest-target lets it run with those of its relatives",
        )
    return None


def _has_relative(node: GpuNode) -> bool:
    try:
        nearest_family(node.properties["gfx_target_version"])
    except UnknownFamilyError:
        return False
    return True


def _open_obstacle(kernel: Kernel, path: str, group_of: Callable[[str], str], what: str) -> Obstacle | None:
    try:
        kernel.close(kernel.open(path, os.O_RDWR | os.O_CLOEXEC))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return Obstacle(
                Cause.HIDDEN,
                f"{what}, but {path} is missing here; "
                "give the container `--device=/dev/kfd --device=/dev/dri`",
            )
        if error.errno == errno.EACCES:
            group = group_of(path)
            return Obstacle(
                Cause.NO_PERMISSION,
                f"{what}, but {path} may be opened only by group {group!r}; join it with "
                f"`sudo usermod -aG {group} $USER` and log in again, or give the container "
                f"`--group-add {group}`",
            )
        if error.errno == errno.EPERM:
            return Obstacle(
                Cause.HIDDEN,
                f"{what}, but the device cgroup forbids {path}; give the container `--device={path}`",
            )
        if error.errno in (errno.ENODEV, errno.ENXIO):
            return Obstacle(Cause.NO_DRIVER, f"{what}, but no driver answers at {path} ({error.errno_name})")
        return Obstacle(Cause.ERROR, f"{what}, but {path} cannot be opened: {error}")
    return None


def _without_topology(kernel: Kernel) -> Obstacle:
    gpus = amd_gpus_on_pci(kernel)
    if gpus:
        return Obstacle(
            Cause.NO_DRIVER,
            f"there is an AMD GPU at {', '.join(gpus)}, but no {TOPOLOGY}; load the driver with "
            "`sudo modprobe amdgpu`, and look at `dmesg` if that does not help",
        )
    return Obstacle(Cause.NO_GPU, "the PCI bus has no AMD GPU and the kernel has no KFD topology")


def _without_nodes(kernel: Kernel) -> Obstacle:
    gpus = amd_gpus_on_pci(kernel)
    if gpus:
        return Obstacle(
            Cause.NO_DRIVER, f"the driver does not offer the GPU at {', '.join(gpus)} for compute"
        )
    return Obstacle(Cause.NO_GPU, "the KFD topology lists no GPU, and the PCI bus has no AMD GPU")


def _hidden_nodes(kernel: Kernel) -> list[Obstacle]:
    nodes = numbers_of(kernel.listdir(f"{TOPOLOGY}/nodes"))
    forbidden = [str(node) for node in nodes if _is_forbidden(kernel, str(node))]
    if not forbidden:
        return []
    text = (
        f"the device cgroup forbids topology nodes {', '.join(forbidden)} (in {TOPOLOGY}/nodes); "
        "give the container `--device=/dev/dri`"
    )
    return [Obstacle(Cause.HIDDEN, text)]


def _is_forbidden(kernel: Kernel, node: str) -> bool:
    try:
        kernel.read_text(f"{TOPOLOGY}/nodes/{node}/gpu_id")
        kernel.read_text(f"{TOPOLOGY}/nodes/{node}/properties")
    except KernelError as error:
        return error.errno == errno.EPERM
    return False


def amd_gpus_on_pci(kernel: Kernel) -> list[str]:
    """Return the PCI addresses of AMD's GPUs, whether a driver has taken them or not."""
    try:
        addresses = sorted(kernel.listdir(PCI_DEVICES))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return []
        raise
    return [address for address in addresses if _is_amd_gpu(kernel, address)]


def _is_amd_gpu(kernel: Kernel, address: str) -> bool:
    vendor = read_number(kernel, f"{PCI_DEVICES}/{address}/vendor", base=16)
    base_class = read_number(kernel, f"{PCI_DEVICES}/{address}/class", base=16) >> 16
    return vendor == AMD_VENDOR and base_class in (_DISPLAY_CLASS, _ACCELERATOR_CLASS)
