//! Dockerfile parser that keeps the text, variable expansion, edits that keep formatting, ignore patterns.
