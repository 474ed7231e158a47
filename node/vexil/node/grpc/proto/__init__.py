"""Messages of flagd's protocols. The ``.proto`` files are written by hand, the modules come out of ``make proto``."""
