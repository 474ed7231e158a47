"""What is told of a run: files, timelines, measures, and the same run made small."""
