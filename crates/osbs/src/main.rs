//! Starts the command line; everything else is in the library crates.
fn main() {}
