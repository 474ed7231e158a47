"""The invariants of DESIGN.md section 9, one checker a file."""
