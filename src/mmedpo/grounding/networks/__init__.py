"""Networks behind visual tools, in plain torch; nothing here is imported before a tool that needs it is opened."""
