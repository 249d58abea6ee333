"""Files: `whole_file`, `write_whole`, `read_json`, `read_yaml`, `config_files`, locks, `check_name`, and `from_hub`."""
