"""Files: `whole_file`, `write_whole`, `read_yaml`, `load_yaml`, `config_files`, locks (`locked`), and `from_hub`."""
