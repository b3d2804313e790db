"""Software GPUs behind the kernel ABI."""
