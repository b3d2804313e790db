"""Turns the values and effects of a basic block into Python source over numpy.

The source is a function `block(g, v, s)` on a group of waves (`waves.Group`), its vector registers and its
scalars. It comes in variants: with EXEC full or partial, and with scalars that are known to be uniform or
not. It returns what the terminator needs (branch condition or jump address), or None.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.ir import Effect
from pytest_amdgpu.emulator.isa.numpy_emit import Text, ValueEmitter, Variant
from pytest_amdgpu.emulator.isa.numpy_lower import DTYPE
from pytest_amdgpu.emulator.isa.python_source import Compiled
from pytest_amdgpu.emulator.isa.translate import Block
from pytest_amdgpu.emulator.isa.waves import slot


class Emitter(ValueEmitter):
    """Writes one variant of one block."""

    def _emit_effect(self, effect: Effect) -> None:
        texts: list[str] = []
        uses: tuple[int, ...] = ()
        for position, arg in enumerate(effect.args):
            if arg is None:
                texts.append("None")
                continue
            # After address and predicate, memory instructions have data.
            lane_data = position > 1 and effect.kind in ("store", "atomic")
            text, used = self.argument(arg, array=arg.lanes or lane_data)
            texts.append(text)
            uses += used
        facts = effect.attributes
        self.writer.offset = effect.offset
        match effect.kind:
            case "load":
                facts_text = f"{facts['count']}, {facts['width']}, {facts['signed']}"
                call = f"g.memory.load_{facts['space']}(g, {', '.join(texts)}, {facts_text})"
            case "store":
                address, where, *data = texts
                values = f"({', '.join(data)},), {facts['width']}"
                call = f"g.memory.store_{facts['space']}(g, {address}, {where}, {values})"
            case "atomic":
                facts_text = f"{DTYPE[facts['type']]}, {facts['ret']}"
                call = (
                    f"g.memory.atomic_{facts['space']}(g, {facts['op']!r}, {', '.join(texts)}, {facts_text})"
                )
            case "load_scalar":
                facts_text = f"{facts['count']}, {facts['width']}, {facts['signed']}"
                call = f"g.memory.load_scalar(g, {texts[0]}, {facts_text})"
            case "getreg":
                call = f"g.getreg({facts['simm16']})"
            case "setreg":
                call = f"g.setreg({facts['simm16']}, {texts[0]})"
            case "clock":
                call = f"g.clock({facts['clock']!r})"
            case "gpr_index_mode":
                call = f"g.gpr_index_mode({facts['mask']})"
            case "set_vgpr_at":
                call = f"g.set_register_at({facts['index']}, {', '.join(texts)})"
            case "message":
                call = f"g.message({facts['simm16']}, {texts[0]})"
            case _:
                raise NotImplementedError(f"effect {effect.kind!r}")
        if not effect.results:
            self.writer.do(call, uses)
        elif effect.kind in ("load", "load_scalar"):
            results = self.writer.define(effect, call, uses)
            for position, result in enumerate(effect.results):
                self.writer.define(result.number, f"{{%{results}}}[{position}]", (results,))
        else:
            self.writer.define(effect.results[0].number, call, uses)

    # ---- the whole ----------------------------------------------------------------------------------------

    def compile(self) -> Compiled:
        """Write and compile the function."""
        block = self.block
        for effect in block.graph.effects:
            self._emit_effect(effect)
        self.writer.offset = block.last_offset if block.instructions else 0
        returned: Text | None = None
        if block.operand is not None:
            returned = self.argument(block.operand, array=False)
        # Compute everything before the first register changes: reads are not repeated.
        writes: list[tuple[str, str, tuple[int, ...]]] = []
        for register, value in block.writes.items():
            text, uses = self.argument(value, array=False)
            if register[0] == "exec":
                writes.append(("g.set_exec({})", text, uses))
            elif register[0] == "v":
                writes.append((f"v[{register[1]}] = {{}}", text, uses))
            else:
                if register[0] == "scc" and self.kind(value) == "int":
                    text = f"bool({text})" if not value.is_const else text
                writes.append((f"s[{slot(register)}] = {{}}", text, uses))
        for pattern, text, uses in writes:
            self.writer.do(pattern.replace("{}", text), uses)
        if returned is not None:
            self.writer.do(f"return {returned[0]}", returned[1])
        return self.writer.finish()


def compile_block(block: Block, variant: Variant) -> Compiled:
    """Return the code of one variant of a block."""
    return Emitter(block, variant).compile()
