"""What every implementation of a seam or an exchange format must keep, run against each of them."""
