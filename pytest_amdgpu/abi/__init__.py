"""The kernel ABI as ctypes structures, request numbers and flags: no logic."""
