"""Auto-research: any model tunes a small GPT-2, and its score cannot be faked."""
