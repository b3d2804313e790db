"""What `python -m pytest_amdgpu` does, one module per command."""
