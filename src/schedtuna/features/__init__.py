"""What policies may look at: one table of features, and their computation from samples."""
