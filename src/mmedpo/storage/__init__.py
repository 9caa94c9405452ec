"""Files on disk: rows out of tables of any layout, images that lie inside them, paths that stay in their folder."""
