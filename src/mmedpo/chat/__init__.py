"""Language models behind one seam: endpoints, checkpoints and recordings; cache, budget, egress guard, prompts."""
