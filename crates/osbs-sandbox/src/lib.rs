//! Mounts, overlayfs, namespaces, the OCI runtime, supervised processes: the only crate with unsafe code.
