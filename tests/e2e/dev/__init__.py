"""`vexil dev` as a process, with small programs in the place of its nodes."""
