"""Settings: an INI file read by tables of options, with every mistake and its line."""
