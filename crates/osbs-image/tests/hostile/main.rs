//! Hostile images, by the lines of past holes in builders: each is refused or contained, soon and in little memory, and what
//! is outside stays untouched.

#![allow(clippy::print_stdout, reason = "tells why a test skips, or what it measured")]

mod archive;
mod bombs;
mod documents;
mod headers;
mod names;
#[path = "../support/mod.rs"]
mod support;
