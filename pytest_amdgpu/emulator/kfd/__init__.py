"""The emulated /dev/kfd: one module per area of ioctls."""
