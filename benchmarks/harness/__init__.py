"""What the scripts measure with: records, statistics, the machine, workers, runners that take turns, tables."""
