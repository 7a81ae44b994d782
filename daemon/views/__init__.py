"""What is known, put together for people: the page and the API show the same."""
