"""Files: `whole_file` and `write_whole`, `read_yaml` and `load_yaml`, locks (`locked`), and `from_hub`."""
