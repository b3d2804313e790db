"""Software GPUs that fail on request: a registry of defects, and what of the emulator they hook into."""
