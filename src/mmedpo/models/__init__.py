"""Med-LVLMs: loading, prompts, image tokens, generation, and the tiny one that ships in the package."""
