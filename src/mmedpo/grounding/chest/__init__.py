"""A lesion localiser for frontal chest radiographs: films are laid over a template and compared with normal ones."""
