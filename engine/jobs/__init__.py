"""Long work that is asked for over HTTP and done by the workers: what was asked, who does it, what it came to."""
