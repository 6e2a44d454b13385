"""The command `shop-streams`, one file for each group of commands."""
