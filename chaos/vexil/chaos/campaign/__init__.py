"""Many runs over many processes, and the mutation gate."""
