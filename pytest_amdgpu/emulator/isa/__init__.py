"""Instruction sets: decoding, semantics, and the numpy back end."""
