"""Who may import whom: every import statement of the package is held to the table of docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_amdgpu

PACKAGE = Path(pytest_amdgpu.__file__).parent
NAME = pytest_amdgpu.__name__

ALLOWED: dict[str, set[str]] = {
    "abi": set(),
    "asserts": set(),
    "packets": set(),
    "kernel": {"abi"},
    "families": {"packets"},
    "driver": {"kernel", "abi", "packets", "families"},
    "emulator": {"kernel.protocol", "kernel.describe", "abi", "packets", "families"},
    "results": {"families"},
    "supervisor": {"kernel.describe", "abi", "packets", "families", "results"},
    "devices": {"kernel", "abi", "packets", "families", "driver", "emulator"},
    "commands": {"kernel", "abi", "packets", "families", "driver", "devices", "results"},
    "__main__": {"commands"},
    "plugin": {
        "kernel",
        "abi",
        "packets",
        "families",
        "driver",
        "emulator",
        "devices",
        "results",
        "supervisor",
    },
}
"""What each layer may import of the other layers (its own modules always)."""

MAY_IMPORT_PYTEST = {"plugin"}
TEST_FRAMEWORKS = {"pytest", "_pytest", "pluggy", "xdist", "pytest_timeout"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and full name of each import of a module, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield node.lineno, _beginning(node.args[0])


def _beginning(name: ast.expr) -> str:
    """Return a module's name that an expression gives, as far as it can be told without running it."""
    if isinstance(name, ast.JoinedStr):
        name = name.values[0]
    return str(name.value) if isinstance(name, ast.Constant) else "computed"


def violations(name: str, source: str, *, is_package: bool = False) -> list[str]:
    """Return what a module imports against the table."""
    parts = name.split(".")
    layer = parts[1] if len(parts) > 1 else ""
    package = name if is_package else name.rpartition(".")[0]
    found = []
    for line, imported in imports(source, package):
        top = imported.split(".")[0]
        if top in TEST_FRAMEWORKS and layer not in MAY_IMPORT_PYTEST:
            found.append(f"{name}:{line} imports {imported}: only the plugin knows pytest")
        elif imported == "computed" and layer not in MAY_IMPORT_PYTEST:
            found.append(f"{name}:{line} imports a module whose name is computed")
        elif top == NAME:
            target = imported.split(".", 1)[1] if "." in imported else ""
            allowed = {layer, *ALLOWED.get(layer, set())}
            if not any(target == one or target.startswith(one + ".") for one in allowed):
                found.append(
                    f"{name}:{line} imports {imported}: {layer or NAME} may import {sorted(allowed)}"
                )
    return found


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_module_imports_only_what_its_layer_may(path: Path) -> None:
    assert not violations(module_name(path), path.read_text(), is_package=path.name == "__init__.py")


def test_every_layer_is_in_the_table() -> None:
    layers = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert layers <= set(ALLOWED)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("pytest_amdgpu.emulator.kernel", "from pytest_amdgpu.driver.device import Device"),
        ("pytest_amdgpu.driver.device", "def f():\n    import pytest_amdgpu.emulator.kernel"),
        ("pytest_amdgpu.emulator.kernel", "from pytest_amdgpu.kernel.linux import LinuxKernel"),
        ("pytest_amdgpu.emulator.kernel", "from pytest_amdgpu.kernel import linux"),
        ("pytest_amdgpu.abi.kfd", "from ..families import registry"),
        ("pytest_amdgpu.driver.device", "import pytest"),
        ("pytest_amdgpu.devices.discovery", "from _pytest.config import Config"),
        ("pytest_amdgpu.driver.backend", "import importlib\nimportlib.import_module(name)"),
        ("pytest_amdgpu.emulator.isa", "importlib.import_module(f'pytest_amdgpu.{layer}.device')"),
        ("pytest_amdgpu.packets.sdma", "from pytest_amdgpu.families.registry import family"),
    ],
)
def test_a_forbidden_import_is_found(name: str, source: str) -> None:
    assert len(violations(name, source)) == 1


def test_an_allowed_import_is_not_found() -> None:
    source = (
        "from pytest_amdgpu.kernel.protocol import Kernel\nfrom . import events\nimport numpy\n"
        "importlib.import_module(f'pytest_amdgpu.emulator.isa.tables.{name}')"
    )
    assert not violations("pytest_amdgpu.emulator.kernel", source)
