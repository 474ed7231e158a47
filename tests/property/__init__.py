"""Laws that hold for all inputs, checked on generated ones."""
