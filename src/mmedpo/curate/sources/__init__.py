"""Where the model's own answers come from that a judge picks the rejected one of: one file each, kind `source`."""
