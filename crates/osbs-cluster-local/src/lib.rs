//! The cluster on one machine: child processes, SQLite, an event log that survives kill -9.
