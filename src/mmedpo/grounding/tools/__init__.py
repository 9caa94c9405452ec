"""The visual tools, one file each; every module here registers one grounder."""
