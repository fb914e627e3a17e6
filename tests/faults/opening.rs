//! Sources that are silent, absent or late when the program starts.
