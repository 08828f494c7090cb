"""How the book measures: what a run is, how it is carried out and kept, and what the records say."""
