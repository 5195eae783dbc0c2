//! XML-RPC documents with Koji's dialect (client-and-koji 5.1): text in, values out, and back.
//!
//! Written on quick-xml. What is written has the layout of Python's `xmlrpc.client`, which Koji's own programs send, so
//! that recordings can be compared byte for byte. Must not know methods or connections.

mod decode;
mod encode;

pub use decode::{Call, XmlError, decode_call, decode_response};
pub use encode::{encode_call, encode_fault, encode_response};
