//! The arrangements as data files, and the rules that render and prune them.
