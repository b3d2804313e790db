"""Instruction decoding: code bytes to `Instruction`, driven by one opcode table per generation.

Callers use `decoder(family)` from `decode.decoder` and the dataclasses of `decode.instruction`.
"""
