"""Where images come from: folders, patterns, zip archives and addresses."""
