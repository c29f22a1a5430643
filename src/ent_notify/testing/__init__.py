"""Public fakes and generators: providers that speak the real protocols, and a seeded school region."""
