"""The one door to CASA: a child process, its data, its logs, its time-out."""
