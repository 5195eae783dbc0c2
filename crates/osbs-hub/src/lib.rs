//! A small Koji hub on SQLite: what container builds need of one, for a site that has none.
//!
//! Speaks the XML-RPC of a real hub (client-and-koji 5 and 6), so that Koji's own programs can be pointed at it. Rank 4:
//! knows no reactor, no cluster, no terminal.
