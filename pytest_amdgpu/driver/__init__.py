"""The user-mode driver: devices, buffers, queues, semaphores, programs."""
