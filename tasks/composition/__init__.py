"""What a pipeline is made of: composition file, plan, and quality gate."""
