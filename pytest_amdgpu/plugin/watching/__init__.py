"""pytest's side of the supervisor: what it is told, and what is made of what it says."""
