//! Koji client: XML-RPC with Koji's dialect, sessions, calls and uploads.
//!
//! Rank 2: knows no plugin and no build. What is asked and what an answer means are pure functions beside a thin sender.
//! The dialect ([`xmlrpc`], [`Value`], [`Fault`], [`Arguments`]) is also what a hub speaks.

mod arguments;
mod fault;
mod value;
pub mod xmlrpc;

pub use arguments::Arguments;
pub use fault::{Fault, FaultCode};
pub use value::{Struct, Value, ValueError};
