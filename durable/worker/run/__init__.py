"""One claimed run."""
