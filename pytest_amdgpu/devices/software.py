"""Which software GPUs a run has: the text of `--amdgpu-software`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_amdgpu.devices.selection import MAX_DIGITS
from pytest_amdgpu.emulator.behaviour import DEFAULT_BEHAVIOUR
from pytest_amdgpu.families.model_file import ModelFileError
from pytest_amdgpu.families.models import (
    Model,
    UnknownModelError,
    load_model,
    model,
    model_names,
    model_path,
    models_of_target,
)
from pytest_amdgpu.families.registry import is_target
from pytest_amdgpu.families.variants import SEPARATOR, VariantError, variant

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.kernel import EmulatedKernel

DEFAULT_SOFTWARE = "gfx90a,gfx942,gfx950,gfx1030,gfx1100,gfx1151,gfx1200,gfx1201"
"""One GPU of each generation that ROCm supports."""

_FILE_END = "//"
"""Stands behind the path of a model file."""

MAX_GPUS = 64
"""Software GPUs of one machine; a mistyped count must not fill the memory."""


class SoftwareSpecError(ValueError):
    """The text does not name software GPUs; the message names the wrong part."""


def parse_software(text: str | None, files: Sequence[str] = (), *, nearest_target: bool = False) -> list[str]:
    """Return one reference per software GPU from text such as `gfx942,gfx1100+small-bar:2`.

    `files` are model files, whose models can be named, too; with `nearest_target` also of unknown steppings.
    Without a text the GPUs are those of the files, or `DEFAULT_SOFTWARE`. `software_model` returns the model
    that a reference stands for.

    A model is named by its own name (`mi300x`) or by its target, with the options of a variant behind it
    (`families/variants.py`). A product of several devices, such as `mi250x` with its two dies, makes all of
    them. Raises `SoftwareSpecError`, and `ModelFileError` for a file that is wrong.
    """
    own: dict[str, str] = {}
    targets: dict[str, str] = {}
    for file in files:
        loaded = load_model(Path(file), nearest_target=nearest_target)
        path = str(Path(file).resolve())
        _refuse_shadow(Path(file), loaded)
        if own.setdefault(loaded.name, path) != path:
            raise ModelFileError(
                Path(file), "name", f"is {loaded.name!r}, as in {own[loaded.name]}; two models need two names"
            )
        targets.setdefault(loaded.target, loaded.name)
    if text is None:
        text = ",".join(own) or DEFAULT_SOFTWARE
    references: list[str] = []
    for part in text.split(","):
        named, colon, count = part.strip().partition(":")
        name, *options = named.split(SEPARATOR)
        if name not in own and name in targets and not models_of_target(name):
            # Of a target for which the package has no model of its own.
            name = targets[name]
        reference = SEPARATOR.join([own[name] + _FILE_END if name in own else name, *options])
        try:
            known = software_model(reference)
        except (UnknownModelError, VariantError) as error:
            others = f"; of --amdgpu-model: {', '.join(own)}" if own else ""
            raise SoftwareSpecError(f"{error}{others}") from error
        if colon and not (count.isdecimal() and len(count) <= MAX_DIGITS and 1 <= int(count) <= MAX_GPUS):
            raise SoftwareSpecError(
                f"{count!r} in {part.strip()!r} is not a number of GPUs from 1 to {MAX_GPUS}"
            )
        reference = reference if name in own else known.name
        references += [reference] * known.devices * (int(count) if colon else 1)
    if len(references) > MAX_GPUS:
        raise SoftwareSpecError(f"{text!r} asks for {len(references)} software GPUs; the most are {MAX_GPUS}")
    return references


def _refuse_shadow(file: Path, loaded: Model) -> None:
    """Refuse a model whose name would take the place of a model of the package, or of a target."""
    name = loaded.name
    if name in model_names() and file.resolve() != model_path(name).resolve():
        raise ModelFileError(
            file, "name", f"is {name!r}, as that of a model in the package; give it one of its own"
        )
    if is_target(name):
        raise ModelFileError(file, "name", f"is {name!r}, which names a gfx target; give it one of its own")


def software_model(reference: str) -> Model:
    """Return the model that a reference stands for.

    A reference is a name, a target, or the path of a model file and `//` (which no resolved path holds, so
    that options can be told from the path); options follow. Raises `UnknownModelError`, `VariantError` and
    `ModelFileError`.
    """
    path, end, behind = reference.partition(_FILE_END)
    if end:
        # Whether it may be of an unknown stepping was decided when the reference was made.
        base, options = load_model(Path(path), nearest_target=True), behind.split(SEPARATOR)[1:]
    else:
        name, *options = reference.split(SEPARATOR)
        base = model(name)
    return variant(base, options)


def software_kernel(
    references: Sequence[str], behaviour: str = DEFAULT_BEHAVIOUR, *, hostile: int | None = None
) -> EmulatedKernel:
    """Return a kernel with one software GPU per model; `behaviour` and `hostile` as in `EmulatedKernel`."""
    from pytest_amdgpu.emulator.kernel import EmulatedKernel

    models = {reference: software_model(reference) for reference in references}
    return EmulatedKernel(
        [models[reference] for reference in references], behaviour=behaviour, hostile=hostile
    )
