//! Who may see the page: tokens, hosts, guessing, sessions, and connections that only cost.
