"""Training of networks that MobiLens runs: see README.md."""
