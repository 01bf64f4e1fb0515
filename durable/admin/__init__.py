"""What is done as the owner of the schema."""
