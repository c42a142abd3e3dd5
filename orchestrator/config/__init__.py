"""The settings: what an INI file says, read by tables, with every mistake and its line."""
