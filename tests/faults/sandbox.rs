//! What the process may still do once its sources are open, and what its arguments show.
