"""The command line: one file per command, each calling the function that the DAG calls."""
