"""The subcommands of `bitcraps`, one module for each group of them."""
