"""Contracts as tests: what a search may expect of a verifier, for authors of other packs to inherit. In the repository, not in the published pack."""
