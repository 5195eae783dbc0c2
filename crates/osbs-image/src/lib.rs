//! OCI layout store and layers: verified blobs, references, locks, tar to tree to tar, reproducible parallel compression.
