"""Input files to score: listed, downloaded, and cut into ranges of rows."""
