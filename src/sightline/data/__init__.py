"""From files, folders and known sets to batches: catalog, decode, split, store, augment, load."""
