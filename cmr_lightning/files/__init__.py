"""Files that are whole or not there, YAML files, locks, and files of the hub."""
