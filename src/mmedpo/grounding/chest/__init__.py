"""A lesion localiser for frontal chest radiographs: films are laid over one template, then compared with normal ones."""
