//! osbs.conf instance to cluster: create, watch, demultiplex, cancel.
