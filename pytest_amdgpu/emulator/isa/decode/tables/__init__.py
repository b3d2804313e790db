"""Opcode tables, one generated data module per generation."""
