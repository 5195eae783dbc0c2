//! The Cluster trait, its contract, its conformance tests, and an in-memory one.
