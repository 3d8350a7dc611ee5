"""The formats on disk, which are the truth: items of a run, files of a study."""
