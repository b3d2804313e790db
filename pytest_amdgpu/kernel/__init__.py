"""The boundary at the system call: what a driver asks of a kernel, and the Linux implementation."""
