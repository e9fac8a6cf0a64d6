"""What signals read their files with: folders, tar shards, splits, a cache, and files that are left out."""
