"""Files: `whole_file`, `write_whole`, `read_json`, `read_yaml`, locks (`locked`), `check_name`, and `from_hub`."""
