"""Ways out to people: mail and push. Each returns one verdict for each recipient."""
