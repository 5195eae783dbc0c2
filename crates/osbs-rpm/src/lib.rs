//! RPM packages of an image: the line format of OSBS's query (`reactor.md` 3.4.1), and the image's database read from
//! outside (6.1, O9).
//!
//! Every byte of a database comes from an image and is hostile: nothing here follows a path, allocates by a number found
//! in the data, or runs a program.

#[cfg(feature = "database")]
mod database;
mod header;
mod package;
mod signature;

#[cfg(feature = "database")]
pub use database::{DATABASE_FOLDERS, DatabaseError, read_database};
pub use header::{HeaderError, read_header};
pub use package::{Package, QUERY_FORMAT, parse_query_output};
