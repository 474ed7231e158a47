"""The simulated world: clocks, networks, disks, stores, and the processes that live on them."""
