"""Test AMD GPUs with plain pytest functions: a pytest plugin, a KFD driver in ctypes, and software GPUs."""
