//! Tables of inputs and outcomes, one module per area. One test binary, so that linking is paid once.

mod edits;
mod expansion;
mod ignoring;
mod label_rules;
mod mounts;
mod oracle;
mod osbs_model;
mod parsing;
mod properties;
mod reference;
