"""Which software GPUs a run has: the text of `--amdgpu-software`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.behaviour import DEFAULT_BEHAVIOUR
from pytest_amdgpu.families.models import Model, UnknownModelError, load_model, model

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.kernel import EmulatedKernel

DEFAULT_SOFTWARE = "gfx90a,gfx942,gfx950,gfx1030,gfx1100,gfx1151,gfx1200,gfx1201"
"""One GPU of each generation that ROCm supports."""

MAX_GPUS = 64
"""Software GPUs of one machine; a mistyped count must not fill the memory."""


class SoftwareSpecError(ValueError):
    """The text does not name software GPUs; the message names the wrong part."""


def parse_software(text: str | None, files: Sequence[str] = ()) -> list[str]:
    """Return one model per software GPU from text such as `gfx942,gfx1100:2`.

    `files` are model files, whose models can be named, too; they stand for themselves in the result. Without
    a text the GPUs are those of the files, or `DEFAULT_SOFTWARE`.

    A model is named by its own name (`mi300x`) or by its target. A product of several devices, such as
    `mi250x` with its two dies, makes all of them. Raises `SoftwareSpecError`, and `ModelFileError` for a
    file that is wrong.
    """
    own = {load_model(Path(file)).name: str(Path(file).resolve()) for file in files}
    if text is None:
        text = ",".join(own) or DEFAULT_SOFTWARE
    names: list[str] = []
    for part in text.split(","):
        name, colon, count = part.strip().partition(":")
        reference = own.get(name, name)
        try:
            known = software_model(reference)
        except UnknownModelError as error:
            raise SoftwareSpecError(str(error)) from error
        if colon and not (count.isdecimal() and 1 <= int(count) <= MAX_GPUS):
            raise SoftwareSpecError(
                f"{count!r} in {part.strip()!r} is not a number of GPUs from 1 to {MAX_GPUS}"
            )
        reference = reference if name in own else known.name
        names += [reference] * known.devices * (int(count) if colon else 1)
    if len(names) > MAX_GPUS:
        raise SoftwareSpecError(f"{text!r} asks for {len(names)} software GPUs; the most are {MAX_GPUS}")
    return names


def software_model(reference: str) -> Model:
    """Return the model that a name, a target or the path of a model file stands for."""
    return load_model(Path(reference)) if Path(reference).is_absolute() else model(reference)


def software_kernel(references: Sequence[str], behaviour: str = DEFAULT_BEHAVIOUR) -> EmulatedKernel:
    """Return a kernel with one software GPU per model; `behaviour` as in `EmulatedKernel`."""
    from pytest_amdgpu.emulator.kernel import EmulatedKernel

    models = {reference: software_model(reference) for reference in references}
    return EmulatedKernel([models[reference] for reference in references], behaviour=behaviour)
