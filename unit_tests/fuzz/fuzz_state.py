"""What an emulated kernel keeps: whether its books agree while processes live, and what is left of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pytest_amdgpu.emulator.gpu import SoftwareGpu
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.emulator.memory import Location
from pytest_amdgpu.emulator.process import Machine, Process, ProcessDevice


class _Remembering(list[Process]):
    """The processes of a machine, which keeps those that are gone, too."""

    def __init__(self, processes: Iterable[Process]) -> None:
        super().__init__(processes)
        self.all = list(self)

    def append(self, process: Process) -> None:
        self.all.append(process)
        super().append(process)


class Books:
    """Looks at a machine from its first process on."""

    def __init__(self, kernel: EmulatedKernel) -> None:
        self._machine: Machine = kernel._machine
        self._kernel = kernel
        self._processes = self._machine.processes = _Remembering(self._machine.processes)
        self._doorbells: list[dict[int, object]] = []

    def disagreements(self) -> list[str]:
        """Say what does not agree, while no call is under way; also takes note of what must be given back."""
        found = []
        for process in self._processes:
            for device in process.devices.values():
                found += _device(process, device)
                if device._doorbells is not None:
                    self._doorbells.append(device._doorbells._queues)  # type: ignore[arg-type]
        for gpu in self._machine.gpus:
            devices = [process.devices[gpu.gpu_id] for process in self._processes]
            objects = [bo for device in devices for bo in device.objects.values() if not bo.imported]
            found += _compare(
                repr(gpu),
                vram=(gpu.vram_used, sum(bo.vram_charge for bo in objects)),
                queues=(gpu.queue_count, sum(len(device.queues) for device in devices)),
                sdma=(
                    gpu._sdma_queues,
                    {
                        queue.sdma_place
                        for device in devices
                        for queue in device.queues.values()
                        if queue.sdma_place is not None
                    },
                ),
            )
        system = sum(
            bo.size
            for process in self._processes
            for device in process.devices.values()
            for bo in device.objects.values()
            if not bo.imported and bo.location in (Location.GTT, Location.USERPTR)
        )
        return found + _compare("machine", system_memory=(self._machine.system_memory_used, system))

    def left(self) -> list[str]:
        """Say what is left after all processes have ended."""
        machine = self._machine
        found: dict[str, object] = {
            "processes": list(machine.processes),
            "user pointers": machine.user_pointers,
            "descriptors": machine.files.descriptors,
            "client's mappings": machine.maps._maps,
            "things due": machine.due,
            "bytes of system memory": machine.system_memory_used,
            "doorbell slots": [slots for slots in self._doorbells if slots],
        }
        for number, process in enumerate(self._processes.all):
            found[f"queues of process {number}"] = process.queues
            found[f"events of process {number}"] = process.events._events
            for device in process.devices.values():
                name = f"of process {number} on {device.gpu!r}"
                found[f"buffer objects {name}"] = device.objects
                found[f"page table entries {name}"] = device.space.mappings
                found[f"queues {name}"] = device.queues
                found[f"global wave sync {name}"] = device.gws_queue
        for gpu in machine.gpus:
            found |= {f"{what} on {gpu!r}": value for what, value in _of_gpu(gpu).items()}
        return [f"{what}: {value}" for what, value in found.items() if value]


def _device(process: Process, device: ProcessDevice) -> list[str]:
    """Compare page tables with buffer objects, references with queues, slots with queues."""
    entries = {id(mapping) for mapping in device.space.mappings}
    known = {
        id(bo.mappings[device.gpu.gpu_id])
        for other in process.devices.values()
        for bo in other.objects.values()
        if device.gpu.gpu_id in bo.mappings
    }
    shared = {id(item) for item in device.space.mappings if item.bo.location is Location.SVM}
    references = Counter(id(item) for queue in device.queues.values() for item in queue.held.values())
    slots = set() if device._doorbells is None else set(device._doorbells._queues)
    return _compare(
        f"process {process.pasid:#x} on {device.gpu!r}",
        page_table=(entries - shared, known),
        references=(
            {id(item): item.queue_references for item in device.space.mappings if item.queue_references},
            dict(references),
        ),
        doorbell_slots=(slots, {queue.doorbell_slot for queue in device.queues.values()}),
    )


def _of_gpu(gpu: SoftwareGpu) -> dict[str, object]:
    """What processes take of a GPU."""
    return {
        "bytes of VRAM": gpu.vram_used,
        "queues": gpu.queue_count,
        "SDMA queues": gpu._sdma_queues,
        "offsets for mmap": gpu.mmap_objects,
        "listeners": gpu.smi._listeners,
        **of_hardware(gpu),
    }


def of_hardware(gpu: SoftwareGpu) -> dict[str, object]:
    """What queues take of a GPU."""
    units = gpu.units
    return {
        "slots of waves": int(units.used.sum()),
        "waves": int(units.busy.sum()),
        "bytes of LDS": int(units.lds_used.sum()),
        "bytes of registers": int(units.vgpr_used.sum()),
        "waiting dispatches": units._waiting,
        "slots of queues": gpu.hardware_queues.holders,
        "waiting queues": gpu.hardware_queues.waiters,
    }


def _compare(where: str, **pairs: tuple[object, object]) -> list[str]:
    return [
        f"{where}: {what} is {is_!r}, but should be {should!r}"
        for what, (is_, should) in pairs.items()
        if is_ != should
    ]
