//! Dockerfile to image: stages, instructions, one layer out.
